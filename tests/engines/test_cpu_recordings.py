"""Recordings on the compiled engine: events are put into frames in one pass, and rows are handed on in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.engines.cpu.lending import Lender
from synfire.engines.cpu.recordings import EventFramesStep, SequenceStep
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.event_frames import EventFrames
from synfire.ops.sequence import Sequence

RECORDING = Signal((-1, 4), Kind.INDEX, Clock.REQUEST)


def step_of(steps: int, dt_s: float, counts: bool) -> EventFramesStep:
    operator = EventFrames(steps=steps, height=3, width=4, dt_s=dt_s, counts=counts)
    return EventFramesStep(operator, (RECORDING,), operator.infer(RECORDING))


def recording(rng: np.random.Generator, count: int, last_us: int) -> Array:
    t = np.sort(rng.integers(0, last_us, count))
    return np.stack([t, rng.integers(0, 4, count), rng.integers(0, 3, count), rng.integers(0, 2, count)], axis=1)


@given(seed=st.integers(0, 2**32 - 1), counts=st.booleans(), dt_us=st.integers(1, 4000), batch=st.integers(1, 4))
def test_frames_are_the_operators_own(seed: int, counts: bool, dt_us: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    step = step_of(int(rng.integers(1, 6)), dt_us * 1e-6, counts)
    given = np.empty(batch, object)
    for sample in range(batch):
        given[sample] = recording(rng, int(rng.integers(1, 60)), int(rng.integers(1, 20_000)))
    frames, wanted = step.apply(given), step.operator.step({}, given)[1]
    assert frames.dtype == wanted.dtype
    assert frames.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("column", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [-1, 2**62, -(2**63)])
def test_what_is_wrong_is_said_as_by_the_operator(column: int, value: int) -> None:
    step, events = step_of(3, 0.001, counts=False), recording(np.random.default_rng(0), 9, 2000)
    events[5, column] = value
    if column == 0 and value > 0:
        events[6:, 0] = 7
    with pytest.raises(UserError) as said:
        step.apply(events[None])
    with pytest.raises(UserError) as wanted:
        step.operator.step({}, events[None])
    assert str(said.value) == str(wanted.value)


@pytest.mark.parametrize("events", [np.zeros((0, 4), np.int64), np.zeros((2, 3), np.int64), np.zeros((2, 4))])
def test_what_is_no_recording_is_refused(events: Array) -> None:
    with pytest.raises(UserError, match=r"at least one row|rows of|whole numbers"):
        step_of(3, 0.001, counts=False).apply(events[None])


@given(seed=st.integers(0, 2**32 - 1), together=st.booleans())
def test_rows_are_those_of_the_reference_step_wherever_samples_stand(seed: int, together: bool) -> None:
    rng = np.random.default_rng(seed)
    total, batch, steps = int(rng.integers(1, 7)), int(rng.integers(1, 4)), int(rng.integers(1, 9))
    operator, signal = Sequence(total), Signal((total, 2, 3), Kind.SPIKE, Clock.REQUEST)
    rows = rng.integers(0, 2, (batch, total, 2, 3), np.uint8)
    at = np.full(batch, rng.integers(total)) if together else rng.integers(0, total, batch)
    given = np.broadcast_to(rows, (steps, *rows.shape))
    after, block = SequenceStep(operator, (signal,), operator.infer(signal)).run({"step": at}, [given], steps)
    state, wanted = {"step": at}, []
    for _ in range(steps):
        state, row = operator.step(state, rows)
        wanted.append(row)
    assert np.array_equal(block, np.stack(wanted))
    assert after["step"].tolist() == state["step"].tolist()
    assert after["step"].dtype == state["step"].dtype


def test_a_piece_serves_smaller_batches_but_not_much_smaller_ones() -> None:
    lender = Lender()
    held, address = lender.lend(1600)
    del held
    smaller, same = lender.lend(900)
    assert same == address
    del smaller
    small, other = lender.lend(100)
    assert other != address
    assert len(small) == 100
