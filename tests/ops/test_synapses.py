"""Conv1d, BatchNorm, Scale, Shift and Threshold by hand."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.ops import Kind, Signal
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.scale import Scale
from synfire.ops.shift import Shift
from synfire.ops.threshold import Threshold


def row(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float32)


def test_conv1d_correlates_and_pads_with_zeros() -> None:
    conv = Conv1d(np.array([[[1.0, 2.0, 3.0]]]), np.array([10.0]), padding=(1, 0))
    assert conv.apply(row(1, 0, 2)[:, None])[0, 0].tolist() == [10 + 2 * 1 + 3 * 0, 10 + 1 * 1 + 2 * 0 + 3 * 2]


def test_conv1d_keeps_groups_apart() -> None:
    conv = Conv1d(np.array([[[1.0]], [[10.0]]]), np.zeros(2), groups=2)
    assert conv.apply(np.array([[[1, 2], [3, 4]]], np.float32))[0].tolist() == [[1, 2], [30, 40]]


def test_conv1d_is_conv2d_with_one_row() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 2, 3)), rng.normal(size=4)
    x = rng.normal(size=(2, 4, 9)).astype(np.float32)
    line = Conv1d(weight, bias, stride=2, padding=(2, 1), dilation=2, groups=2)
    plane = Conv2d(weight[:, :, None], bias, stride=(1, 2), padding=(0, 0, 2, 1), dilation=(1, 2), groups=2)
    assert line.apply(x).tobytes() == plane.apply(x[:, :, None]).tobytes()


@pytest.mark.parametrize(
    ("fields", "cure"),
    [
        ({"weight": np.ones((2, 3))}, "output, input / groups, kernel"),
        ({"groups": 3}, "not a multiple of groups=3"),
        ({"stride": 0}, "stride and dilation ≥ 1"),
    ],
)
def test_conv1d_refuses_fields_that_contradict(fields: dict[str, object], cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        Conv1d(**{"weight": np.ones((2, 1, 1)), "bias": np.ones(2), **fields})  # type: ignore[arg-type]


def test_conv1d_names_the_channels_it_wants() -> None:
    with pytest.raises(UserError, match="takes 2 input channels"):
        Conv1d(np.ones((1, 2, 1)), np.ones(1)).infer(Signal((3, 5)))


def norm(axis: int = 0) -> BatchNorm:
    """a = 3 / √(3.75 + 0.25) = 1.5 and b = 1 − 2 · 1.5 = −2 for channel 0; a = 1 and b = 0 for channel 1."""
    return BatchNorm(
        np.array([2.0, 0.0]), np.array([3.75, 0.75]), np.array([3.0, 1.0]), np.array([1.0, 0.0]), 0.25, axis
    )


@pytest.mark.parametrize(
    ("axis", "x", "y"),
    [
        (0, [4.0, 5.0], [4.0, 5.0]),
        (0, [[4.0, 0.0], [5.0, 6.0]], [[4.0, -2.0], [5.0, 6.0]]),
        (-1, [[4.0, 5.0], [0.0, 6.0]], [[4.0, 5.0], [-2.0, 6.0]]),
    ],
)
def test_batch_norm_scales_and_shifts_along_its_axis(axis: int, x: list[float], y: list[float]) -> None:
    assert norm(axis).apply(np.array([x], np.float32))[0].tolist() == y


def test_batch_norm_refuses_another_number_of_channels() -> None:
    with pytest.raises(UserError, match="2 channels on axis 0"):
        norm().infer(Signal((3, 4)))


def test_batch_norm_refuses_a_variance_below_zero() -> None:
    with pytest.raises(UserError, match="larger epsilon"):
        BatchNorm(np.zeros(1), np.full(1, -1.0), np.ones(1), np.zeros(1))


def test_scale_and_shift_work_element_by_element() -> None:
    assert Scale(np.array([2.0, -1.0])).apply(row(3, 4)).tolist() == [[6, -4]]
    assert Shift(0.5).apply(np.array([[1, 0]], np.uint8)).tolist() == [[1.5, 0.5]]


def test_scale_refuses_a_factor_that_would_stretch_the_input() -> None:
    with pytest.raises(UserError, match="reshape the parameter"):
        Scale(np.ones((2, 3))).infer(Signal((3,)))


def test_threshold_counts_equality_unless_strict() -> None:
    assert Threshold(1.0).apply(row(0.5, 1, 2)).tolist() == [[0, 1, 1]]
    assert Threshold(1.0, strict=True).apply(row(0.5, 1, 2)).tolist() == [[0, 0, 1]]
    assert Threshold(1.0).infer(Signal((3,))).kind is Kind.SPIKE
