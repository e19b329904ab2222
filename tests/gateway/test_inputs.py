"""What a caller may send: names, shapes, dtypes, values."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synfire.base.errors import UserError
from synfire.gateway.inputs import Intake, exact
from synfire.gateway.limits import Limits
from synfire.graph import Graph
from synfire.ops import Clock, Kind, Signal

LIMITS = Limits(batch=8, steps=16)


def intake(**inputs: Signal) -> Intake:
    return Intake(Graph({}, (), inputs, {name: name for name in inputs}), LIMITS)


IMAGE = intake(x=Signal((2, 3), clock=Clock.REQUEST))
STREAM = intake(x=Signal((3,), Kind.SPIKE))
EVENTS = intake(events=Signal((-1, 4), Kind.INDEX, Clock.REQUEST))


def test_a_right_input_is_taken_as_it_is():
    x = np.ones((4, 2, 3), np.float32)
    assert IMAGE({"x": x})["x"] is x


@pytest.mark.parametrize("content", [b"RIFF$\x00\x00\x00WAVEfmt ", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_file_in_base64_that_does_not_say_so_is_refused_with_the_cure(content):
    files = intake(file=Signal((), Kind.BYTES, Clock.REQUEST))
    sent = np.array([content, base64.b64encode(content)], object)
    assert files({"file": sent[:1]})["file"][0] == content
    with pytest.raises(UserError, match=r'looks like a file in base64.*"content_type": "base64"'):
        files({"file": sent})


def test_an_input_on_the_step_clock_is_turned_steps_first():
    x = np.random.default_rng(0).integers(0, 2, (4, 5, 3)).astype(np.uint8)
    taken = STREAM({"x": x})["x"]
    assert taken.shape == (5, 4, 3)
    np.testing.assert_array_equal(taken[3, 1], x[1, 3])
    assert taken.flags.c_contiguous


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, r"misses \['x'\]; this model's inputs are \['x'\]"),
        ({"x": np.zeros((1, 2, 3)), "y": np.zeros(1)}, r"brings \['y'\]"),
        ({"x": np.zeros((2, 3), np.float32)}, r"shape \[2, 3\]; it takes \[batch, 2, 3\]"),
        ({"x": np.zeros((1, 3, 2), np.float32)}, r"it takes \[batch, 2, 3\]"),
        ({"x": np.zeros((0, 2, 3), np.float32)}, "is empty"),
        ({"x": np.zeros((9, 2, 3), np.float32)}, r"above the limit batch=8; split it"),
        ({"x": np.full((1, 2, 3), np.nan, np.float32)}, r"holds nan at \[0, 0, 0\]; send finite"),
        ({"x": np.full((1, 2, 3), np.inf)}, "send finite"),
        ({"x": np.full((1, 2, 3), 0.1)}, r"holds 0.1 at \[0, 0, 0\], which is no float32"),
        ({"x": np.full((1, 2, 3), b"", object)}, "is BYTES; it takes float32"),
    ],
)
def test_a_wrong_input_is_refused_by_name_and_place(tensors, said):
    with pytest.raises(UserError, match=said):
        IMAGE(tensors)


def test_a_stream_is_refused_beyond_the_limit_of_steps():
    with pytest.raises(UserError, match="above the limit steps=16; send them in several calls of one session"):
        STREAM({"x": np.zeros((1, 17, 3), np.uint8)})


def test_a_spike_is_zero_or_one():
    with pytest.raises(UserError, match=r"holds 2 at \[0, 0, 1\]; a spike is 0 or 1"):
        STREAM({"x": np.array([[[0, 2, 1]]], np.uint8)})


def test_inputs_must_agree_in_their_batch_and_steps():
    both = intake(a=Signal((1,)), b=Signal((1,)))
    with pytest.raises(UserError, match="differ in their batch"):
        both({"a": np.zeros((1, 2, 1)), "b": np.zeros((2, 2, 1))})
    with pytest.raises(UserError, match="differ in their number of time steps"):
        both({"a": np.zeros((1, 2, 1)), "b": np.zeros((1, 3, 1))})


def test_samples_of_differing_size_travel_alone():
    assert EVENTS({"events": np.zeros((1, 7, 4), np.int64)})["events"].shape == (1, 7, 4)
    with pytest.raises(UserError, match="send each in a request of its own"):
        EVENTS({"events": np.zeros((2, 7, 4), np.int64)})
    with pytest.raises(UserError, match="is empty"):
        EVENTS({"events": np.zeros((0, 7, 4), np.int64)})


@pytest.mark.parametrize("kind", [Kind.INDEX, Kind.VALUE, Kind.SPIKE, Kind.COUNT])
def test_where_any_number_of_rows_may_come_none_may(kind):
    rows = intake(x=Signal((-1, 2), kind, Clock.REQUEST))
    assert rows({"x": np.zeros((1, 0, 2))})["x"].shape == (1, 0, 2)


NUMBERS = st.sampled_from("?BbHhIiLlefd").map(np.dtype)


@given(NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, 5)), st.sampled_from([Kind.VALUE, Kind.INDEX, Kind.COUNT]))
def test_what_is_taken_keeps_every_value_exactly(array, kind):
    try:
        taken = exact("x", array, kind)
    except UserError:
        values = [each.item() for each in array]
        limits = {Kind.INDEX: (-(2**63), 2**63 - 1), Kind.COUNT: (0, 2**31 - 1)}
        if kind is Kind.VALUE:
            assert any(not np.isfinite(v) or abs(v) > 3e38 or float(np.float32(v)) != v for v in values)
        else:
            low, high = limits[kind]
            assert any(not np.isfinite(v) or v != int(v) or not low <= v <= high for v in values)
    else:
        assert taken.dtype == kind.dtype
        assert [each.item() for each in taken] == [each.item() for each in array]


@pytest.mark.filterwarnings("error")
@given(
    hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32) | st.sampled_from([3e38, -3e38])),
    st.integers(0, 3),
    st.sampled_from([1, 300]),
)
def test_only_what_holds_a_number_that_is_not_finite_is_refused_for_that(array, offset, times):
    array = np.tile(array, times)
    lying = np.frombuffer(bytes(offset) + array.tobytes(), np.float32, offset=offset)  # as in a body, at any byte
    if np.isfinite(array).all():
        assert exact("input 'x'", lying, Kind.VALUE) is lying
    else:
        with pytest.raises(UserError, match="send finite numbers"):
            exact("input 'x'", lying, Kind.VALUE)
