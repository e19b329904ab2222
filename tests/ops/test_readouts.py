"""SpikeCount, Last, MaxOverTime, FirstSpike, Softmax and ArgMax."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.arg_max import ArgMax
from synfire.ops.first_spike import FirstSpike
from synfire.ops.last import Last
from synfire.ops.max_over_time import MaxOverTime
from synfire.ops.softmax import Softmax
from synfire.ops.spike_count import SpikeCount

SPIKES = [np.array([row], np.uint8) for row in ([0, 1, 0], [1, 1, 0], [1, 0, 0])]


def last(readout: Operator, steps: list[np.ndarray]) -> list[float]:
    state = readout.initial_state(1, Signal(steps[0].shape[1:], Kind.SPIKE))
    for x in steps:
        state, y = readout.step(state, x)
    return y[0].tolist()


def test_spike_count_counts() -> None:
    assert last(SpikeCount(), SPIKES) == [2, 2, 0]


def test_spike_count_goes_past_255() -> None:
    assert last(SpikeCount(), [np.ones((1, 1), np.uint8)] * 300) == [300]


def test_last_is_the_last_value() -> None:
    assert last(Last(), SPIKES) == [1, 0, 0]


def test_max_over_time_is_the_highest_value_also_below_zero() -> None:
    assert last(MaxOverTime(), [np.array([[x]], np.float32) for x in (-3, -1, -2)]) == [-1]


def test_first_spike_names_the_step_and_silence_reads_the_number_of_steps() -> None:
    assert last(FirstSpike(), SPIKES) == [1, 0, 3]
    assert last(FirstSpike(), SPIKES[:1]) == [1, 0, 1]


@pytest.mark.parametrize("readout", [SpikeCount(), Last(), MaxOverTime(), FirstSpike()])
def test_readouts_read_a_signal_per_step_and_run(readout: Operator) -> None:
    assert readout.infer(Signal((3,), Kind.SPIKE)).clock is Clock.RUNNING
    with pytest.raises(UserError, match="put an encoder"):
        readout.infer(Signal((3,), Kind.SPIKE, Clock.REQUEST))


def test_softmax_makes_probabilities_of_any_scores() -> None:
    y = Softmax().apply(np.array([[0, np.log(3), -1e30], [1e30, 1e30, 0]], np.float32))
    assert np.allclose(y, [[0.25, 0.75, 0], [0.5, 0.5, 0]])


def test_arg_max_prefers_the_lowest_of_equals() -> None:
    assert ArgMax().apply(np.array([[1, 3, 3], [0, 0, 0]], np.float32)).tolist() == [1, 0]
    assert ArgMax().infer(Signal((3,), clock=Clock.RUNNING)) == Signal((), Kind.INDEX, Clock.RUNNING)
    with pytest.raises(UserError, match="has 0 axes"):
        ArgMax().infer(Signal(()))
