"""Bernoulli, Latency, Delta and Sequence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.bernoulli import Bernoulli, uniform
from synfire.ops.delta import Delta
from synfire.ops.latency import Latency
from synfire.ops.sequence import Sequence


def emitted(operator: Operator, *inputs: np.ndarray, steps: int | None = None) -> np.ndarray:
    """`(steps, batch, *shape)` of one input repeated `steps` times, or of one input per step."""
    steps_in = inputs * (steps or 1)
    state = operator.initial_state(len(inputs[0]), Signal(inputs[0].shape[1:], Kind.VALUE, Clock.REQUEST))
    found = []
    for x in steps_in:
        state, y = operator.step(state, x)
        found.append(y)
    return np.stack(found)


def test_bernoulli_fires_at_the_rate_of_its_input() -> None:
    p = np.linspace(0, 1, 11, dtype=np.float32)[None]
    rates = emitted(Bernoulli(1), p, steps=4000).mean((0, 1))
    assert rates[0] == 0
    assert rates[-1] == 1
    assert np.abs(rates - p[0]).max() < 4 * 0.5 / np.sqrt(4000)


def test_bernoulli_clamps_what_is_no_probability() -> None:
    assert emitted(Bernoulli(1), np.array([[-1.0, 2.0]], np.float32), steps=50).mean((0, 1)).tolist() == [0, 1]


def test_bernoulli_draws_are_independent_over_elements_steps_and_seeds() -> None:
    draws = uniform(0, np.arange(400), 400)
    other = uniform(1, np.arange(400), 400)
    for a, b in [(draws[:-1], draws[1:]), (draws[:, :-1], draws[:, 1:]), (draws, other), (draws, draws.T)]:
        off = ~np.eye(400, dtype=bool)[: a.shape[0], : a.shape[1]]
        assert abs(np.corrcoef(a[off], b[off])[0, 1]) < 4 / 400


def test_bernoulli_bits_are_fixed_for_all_time() -> None:
    assert uniform(0, np.zeros(1, np.int64), 3)[0].tolist() == [
        0.6524484753608704,
        0.7012121081352234,
        0.38712412118911743,
    ]


def _splitmix(z: int) -> int:
    """SplitMix64's finaliser in Python's integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10**6))
def test_bernoulli_draws_follow_their_equation(seed: int, step: int) -> None:
    golden = 0x9E3779B97F4A7C15
    key = _splitmix((seed + golden * (step + 1)) % 2**64)
    expected = [(_splitmix((key + golden * (e + 1)) % 2**64) >> 40) / 2**24 for e in range(3)]
    assert uniform(seed, np.array([step]), 3)[0].tolist() == expected


def test_bernoulli_goes_on_where_a_sessions_last_request_ended() -> None:
    x = np.full((1, 64), 0.5, np.float32)
    whole = emitted(Bernoulli(8, seed=3), x, steps=8)
    state = {"step": np.full(1, 5, np.int64)}
    assert np.array_equal(Bernoulli(8, seed=3).step(state, x)[1], whole[5])


def test_bernoulli_refuses_a_seed_that_is_none() -> None:
    with pytest.raises(UserError, match="from 0 to"):
        Bernoulli(4, seed=-1)


def test_latency_fires_once_and_earlier_for_larger_values() -> None:
    x = np.array([[1.0, 0.5, 0.0, -3.0]], np.float32)
    spikes = emitted(Latency(5), x, steps=5)[:, 0]
    assert spikes.argmax(0).tolist() == [0, 2, 4, 4]
    assert spikes.sum(0).tolist() == [1, 1, 1, 1]


def test_latency_by_logarithm_gives_small_values_more_of_the_time() -> None:
    x = np.array([[1.0, 0.5, 0.1, 0.0]], np.float32)
    # 4 − ln(53.598·x + 1): 0, 0.67, 2.15, 4
    assert emitted(Latency(5, curve="log"), x, steps=5)[:, 0].argmax(0).tolist() == [0, 1, 2, 4]


def test_latency_begins_again_with_the_next_request() -> None:
    spikes = emitted(Latency(2), np.array([[1.0]], np.float32), steps=4)
    assert spikes[:, 0, 0].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("fields", "cure"), [({"curve": "cubic"}, "'log'"), ({"curve": "log", "steps": 90}, "at most 89")]
)
def test_latency_refuses_curves_it_cannot_draw(fields: dict[str, object], cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        Latency(**{"steps": 4, **fields})  # type: ignore[arg-type]


def test_delta_fires_where_the_value_rose() -> None:
    values = [np.array([[x]], np.float32) for x in (0.5, 0.6, 1.0, 0.0)]
    assert emitted(Delta(0.25), *values)[:, 0, 0].tolist() == [1, 0, 1, 0]
    assert emitted(Delta(0.25, polarities=True), *values)[:, 0, :, 0].tolist() == [[1, 0], [0, 0], [1, 0], [0, 1]]


def test_sequence_reads_row_by_row_and_starts_over() -> None:
    x = np.array([[[1, 2], [3, 4]]], np.float32)
    assert emitted(Sequence(2), x, steps=3)[:, 0].tolist() == [[1, 2], [3, 4], [1, 2]]


def test_sequence_refuses_another_number_of_rows() -> None:
    with pytest.raises(UserError, match="reads 3 rows"):
        Sequence(3).infer(Signal((2, 4), Kind.VALUE, Clock.REQUEST))


@pytest.mark.parametrize("encoder", [Bernoulli(2), Latency(2), Sequence(2)])
def test_encoders_take_one_value_per_request(encoder: Operator) -> None:
    with pytest.raises(UserError, match="before the encoder"):
        encoder.infer(Signal((2, 3)))
