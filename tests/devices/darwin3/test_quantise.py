from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synfire.base.errors import UserError
from synfire.devices.darwin3.quantise import HIGHEST_THRESHOLD, quantise
from synfire.devices.darwin3.words import WEIGHT_BITS

WEIGHTS = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(-8, 8, width=16))


@given(WEIGHTS, st.sampled_from(WEIGHT_BITS))
def test_codes_are_symmetric_and_fit_their_bits(weights: np.ndarray, bits: int) -> None:
    codes = quantise(weights, bits).codes
    assert np.abs(codes).max() <= 2 ** (bits - 1) - 1


@given(WEIGHTS)
def test_the_error_is_what_the_codes_leave(weights: np.ndarray) -> None:
    found = quantise(weights, 4)
    left = np.sqrt(((weights - found.restored()) ** 2).sum(axis=1))
    assert np.allclose(left, found.error * np.sqrt((weights**2).sum(axis=1)), atol=1e-9)


def test_more_bits_leave_less_error() -> None:
    weights = np.random.default_rng(0).normal(size=(8, 200))
    errors = [quantise(weights, bits).error.mean() for bits in WEIGHT_BITS]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.01
    assert errors[4] < 1e-4


def test_a_channel_is_scaled_on_its_own_unless_shared() -> None:
    weights = np.array([[1.0, -0.5], [100.0, 50.0]])
    assert np.array_equal(quantise(weights, 8).codes[:, 0], [127, 127])
    together = quantise(weights, 8, shared=True)
    assert together.scale[0] == together.scale[1]
    assert together.codes[0, 0] == 1


def test_another_axis_holds_the_channels() -> None:
    weights = np.random.default_rng(1).normal(size=(5, 3, 2))
    assert np.array_equal(quantise(weights, 8, axis=1).codes, quantise(weights.swapaxes(0, 1), 8).codes.swapaxes(0, 1))


@settings(max_examples=200)
@given(
    st.floats(0.01, 4),
    st.booleans(),
    st.sampled_from(WEIGHT_BITS),
    st.lists(st.integers(-50, 50), min_size=1, max_size=40),
)
def test_an_integer_membrane_fires_where_the_real_one_does(
    threshold: float, strict: bool, bits: int, spikes: list[int]
) -> None:
    weights = np.random.default_rng(2).normal(size=(3, len(spikes)))
    found = quantise(weights, bits, threshold, strict=strict)
    assert found.levels is not None
    assert found.levels.max() <= HIGHEST_THRESHOLD + 1
    membrane = found.codes.astype(np.int64) @ np.array(spikes)
    real = membrane * found.scale
    away = np.abs(real - threshold) > 1e-6
    assert np.array_equal((membrane >= found.levels)[away], (real > threshold if strict else real >= threshold)[away])


def test_a_membrane_that_lands_on_the_threshold_fires_unless_strict() -> None:
    weights = np.array([[127.0, 1.0]])
    assert quantise(weights, 8, 50.0).levels == [50]
    assert quantise(weights, 8, 50.0, strict=True).levels == [51]


def test_a_high_threshold_makes_the_scale_coarser() -> None:
    found = quantise(np.array([[0.001, -0.001]]), 16, 1.0)
    assert found.levels == [HIGHEST_THRESHOLD]
    assert found.codes[0, 0] == round(0.001 * HIGHEST_THRESHOLD)


def test_a_channel_of_zeros_stays_zero() -> None:
    found = quantise(np.zeros((2, 3)), 8, [1.0, 2.0])
    assert not found.codes.any()
    assert not found.error.any()
    assert found.levels is not None
    assert (found.levels > 0).all()


def test_bad_weights_and_thresholds_are_refused() -> None:
    with pytest.raises(UserError, match="a core stores 2, 4, 6, 8, 16"):
        quantise(np.ones((1, 1)), 7)
    with pytest.raises(UserError, match="not finite; train"):
        quantise(np.array([[np.nan]]), 8)
    with pytest.raises(UserError, match="give one, or one per channel"):
        quantise(np.ones((2, 1)), 8, np.ones(3))
    with pytest.raises(UserError, match="level 32767"):
        quantise(np.ones((2, 1)), 8, np.inf)
