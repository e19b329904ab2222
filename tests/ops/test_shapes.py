"""Flatten, Reshape, Transpose, Concatenate and Delay."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.concatenate import Concatenate
from synfire.ops.delay import Delay
from synfire.ops.flatten import Flatten
from synfire.ops.identity import Identity
from synfire.ops.reshape import Reshape
from synfire.ops.transpose import Transpose


def outputs(operator: Operator, *steps: np.ndarray) -> list[list[float]]:
    state = operator.initial_state(len(steps[0]), Signal(steps[0].shape[1:], Kind.VALUE))
    found = []
    for x in steps:
        state, y = operator.step(state, x)
        found.append(y[0].tolist())
    return found


def test_flatten_never_swallows_the_batch() -> None:
    assert Flatten().apply(np.zeros((5, 2, 3))).shape == (5, 6)
    assert Flatten().infer(Signal(())).shape == (1,)
    assert Flatten(start_axis=1).infer(Signal((2, 3, 4))).shape == (2, 12)


def test_flatten_refuses_an_axis_that_is_not_there() -> None:
    with pytest.raises(UserError, match="from 0 to 1"):
        Flatten(start_axis=2).infer(Signal((2, 3)))


def test_flatten_refuses_ragged_inputs() -> None:
    with pytest.raises(UserError, match="EventFrames"):
        Flatten().infer(Signal((-1, 4), Kind.INDEX, Clock.REQUEST))


def test_reshape_works_one_size_out() -> None:
    assert Reshape((2, -1)).infer(Signal((3, 4))).shape == (2, 6)
    assert Reshape((2, 2)).apply(np.arange(8).reshape(2, 4)).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


@pytest.mark.parametrize("shape", [(5,), (5, -1), (0, -1)])
def test_reshape_refuses_sizes_that_do_not_multiply_up(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="must multiply to 12"):
        Reshape(shape).infer(Signal((3, 4)))


def test_reshape_refuses_two_open_sizes() -> None:
    with pytest.raises(UserError, match="at most one"):
        Reshape((-1, -1))


def test_transpose_moves_axes() -> None:
    x = np.arange(6).reshape(1, 2, 3)
    assert Transpose((1, 0)).apply(x)[0].tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(UserError, match="each axis of a sample once"):
        Transpose((0, 0))


def test_concatenate_joins_in_port_order_and_raises_the_kind() -> None:
    spikes, counts = np.array([[1]], np.uint8), np.array([[3, 4]], np.int32)
    joined = Concatenate().apply(counts, spikes)
    assert joined.tolist() == [[3, 4, 1]]
    assert joined.dtype == np.int32
    assert Concatenate().apply(spikes, spikes).dtype == np.uint8


def test_concatenate_refuses_sizes_that_differ_elsewhere() -> None:
    with pytest.raises(UserError, match="axis 0 alone"):
        Concatenate().infer(Signal((2, 3)), Signal((2, 4)))


def test_delay_holds_its_input_back() -> None:
    ones = [np.array([[float(t)]], np.float32) for t in range(1, 5)]
    assert outputs(Delay(2), *ones) == [[0], [0], [1], [2]]
    assert outputs(Delay(0), *ones) == [[1], [2], [3], [4]]


def test_delay_may_differ_by_element() -> None:
    steps = [np.array([[t, t, t]], np.float32) for t in range(1, 5)]
    assert outputs(Delay(np.array([0, 1, 3])), *steps) == [[1, 0, 0], [2, 1, 0], [3, 2, 0], [4, 3, 1]]


@pytest.mark.parametrize("steps", [-1, np.array([0.5])])
def test_delay_refuses_what_is_no_number_of_steps(steps: object) -> None:
    with pytest.raises(UserError, match="divide the delay in seconds by dt_s"):
        Delay(steps)  # type: ignore[arg-type]


def test_identity_hands_on_any_kind() -> None:
    files = np.array([b"x"], object)
    assert Identity().apply(files) is files
