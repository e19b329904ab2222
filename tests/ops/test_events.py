"""EventDecode and EventFrames."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Signal
from synfire.ops.event_decode import EventDecode
from synfire.ops.event_frames import EventFrames

FRAMES = EventFrames(steps=2, height=2, width=3, dt_s=0.001)
ROWS = np.array([[500, 2, 1, 0], [1400, 2, 1, 0], [1500, 0, 0, 1], [2499, 0, 0, 1], [2500, 1, 1, 1]])


def test_event_frames_start_with_the_first_event_and_leave_out_what_is_late() -> None:
    frames = FRAMES.frames(ROWS)
    assert np.argwhere(frames).tolist() == [[0, 0, 1, 2], [1, 1, 0, 0]]
    assert frames.dtype == np.uint8


def test_event_frames_may_count() -> None:
    counts = EventFrames(steps=2, height=2, width=3, dt_s=0.001, counts=True).frames(ROWS)
    assert counts[0, 0, 1, 2] == 2
    assert counts[1, 1, 0, 0] == 2
    assert counts.sum() == 4
    assert counts.dtype == np.int32


@given(seed=st.integers(0, 999), n=st.integers(1, 50))
def test_event_frames_equal_the_trainings_features(features: ModuleType, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    t, x, y, p = (
        np.sort(rng.integers(0, 400_000, n)),
        rng.integers(0, 34, n),
        rng.integers(0, 34, n),
        rng.integers(0, 2, n),
    )
    expected = features.event_frames(t, x, y, p, 0.03, steps=10, height=34, width=34)
    frames = EventFrames(steps=10, height=34, width=34, dt_s=0.03)
    rebuilt = EventFrames.build(frames.attributes(), frames.parameters())
    assert isinstance(rebuilt, EventFrames)
    assert rebuilt.frames(np.stack([t, x, y, p], axis=1)).tobytes() == expected.tobytes()


def test_event_frames_take_recordings_of_any_length_in_one_batch() -> None:
    ragged = np.empty(2, object)
    ragged[:] = [ROWS, ROWS[:1]]
    frames = FRAMES.apply(ragged)
    assert frames.shape == (2, 2, 2, 2, 3)
    assert np.array_equal(frames[1], FRAMES.frames(ROWS[:1]))


@pytest.mark.parametrize(
    ("row", "change", "cure"),
    [
        (2, [1500, 3, 0, 1], "event row 2 has x = 3; this model's sensor goes from 0 to 2"),
        (1, [1400, 0, -1, 0], "event row 1 has y = -1; this model's sensor goes from 0 to 1"),
        (4, [2500, 0, 0, 2], "event row 4 has p = 2; this model's sensor goes from 0 to 1"),
        (3, [1499, 0, 0, 0], "event row 3 is earlier than the row before; sort"),
    ],
)
def test_event_frames_name_the_row_that_is_wrong(row: int, change: list[int], cure: str) -> None:
    events = ROWS.copy()
    events[row] = change
    with pytest.raises(UserError, match=cure):
        FRAMES.frames(events)


@pytest.mark.parametrize(
    ("events", "cure"),
    [
        (np.zeros((0, 4), np.int64), "at least one row"),
        (np.zeros((2, 3), np.int64), "rows of"),
        (np.zeros((2, 4)), "whole numbers"),
    ],
)
def test_event_frames_refuse_what_is_no_recording(events: np.ndarray, cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        FRAMES.frames(events)


def test_event_frames_refuse_steps_below_a_microsecond() -> None:
    with pytest.raises(UserError, match="one microsecond"):
        EventFrames(steps=1, height=1, width=1, dt_s=1e-7)


def test_event_decode_reads_rows() -> None:
    data = np.empty(1, object)
    data[0] = ROWS.astype("<i8").tobytes()
    assert np.array_equal(EventDecode().apply(data)[0], ROWS)
    assert EventDecode().infer(Signal((), Kind.BYTES, Clock.REQUEST)) == Signal((-1, 4), Kind.INDEX, Clock.REQUEST)


@pytest.mark.parametrize(
    ("data", "cure"), [(b"", "rows of four"), (b"x" * 33, "rows of four"), (b"x" * 96, "send fewer")]
)
def test_event_decode_refuses_bytes_that_are_no_rows(data: bytes, cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        EventDecode(max_events=2).decode(data)
