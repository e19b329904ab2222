"""Equal arrays are one, for as long as somebody holds it."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from synfire.ops.linear import Linear
from synfire.ops.sharing import shared

LENGTH = 128


def ramp(length: int = LENGTH, dtype: type = np.float32) -> np.ndarray:
    return np.arange(length, dtype=dtype)


def test_equal_arrays_are_kept_once_and_read_only() -> None:
    first = shared(ramp())
    assert shared(ramp()) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


@pytest.mark.parametrize("other", [ramp() + 1, ramp(dtype=np.int32), ramp().reshape(2, -1), ramp(LENGTH + 1)])
def test_arrays_that_differ_in_content_or_format_are_two(other: np.ndarray) -> None:
    first = shared(ramp())
    assert shared(other) is not first
    assert first.tobytes() == ramp().tobytes()


def test_an_array_of_another_use_is_another_one() -> None:
    assert shared(ramp(), "aligned") is not shared(ramp())


def test_zeros_of_either_sign_are_not_mixed_up() -> None:
    positive, negative = np.zeros(LENGTH, np.float32), np.full(LENGTH, -0.0, np.float32)
    held = shared(positive)
    assert np.signbit(shared(negative)).all()
    assert not np.signbit(held).any()


def test_scalars_and_nothing_are_shared_too_and_objects_never() -> None:
    one, none = shared(np.array(1.0)), shared(np.empty(0))
    assert shared(np.array(1.0)) is one
    assert shared(np.empty(0)) is none
    first, second = (shared(np.array([b"x"], object)) for _ in range(2))
    assert first is not second


def test_what_nobody_holds_is_forgotten() -> None:
    first = shared(ramp())
    del first
    gc.collect()
    fresh = ramp()
    assert shared(fresh) is fresh


def test_operators_of_two_models_hold_one_weight() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(32, 64)), rng.normal(size=32)
    first, second = Linear(weight, bias), Linear(weight.copy(), bias.copy())
    assert first.weight is second.weight
    assert Linear(weight + 1, bias).weight is not first.weight
