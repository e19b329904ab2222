"""Pooling by hand, and PyTorch's rules for ceil_mode and divisors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Kind, Signal
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.max_pool1d import MaxPool1d
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.pooling import Window
from synfire.ops.sum_pool2d import SumPool2d

SQUARE = {"kernel": (2, 2), "stride": (2, 2)}
IMAGE = np.array([[[[1, 0, 1], [1, 1, 0], [0, 1, 1]]]], np.uint8)


def test_sum_pool_adds_spikes_up_to_counts() -> None:
    pool = SumPool2d((2, 2), (1, 1))
    assert pool.apply(IMAGE)[0, 0].tolist() == [[3, 2], [3, 3]]
    assert pool.infer(Signal((1, 3, 3), Kind.SPIKE)).kind is Kind.COUNT


def test_sum_pool_counts_past_255_spikes() -> None:
    assert SumPool2d((20, 20), (20, 20)).apply(np.ones((1, 1, 20, 20), np.uint8)).tolist() == [[[[400]]]]


def test_avg_pool_divides_by_declared_padding_but_not_by_the_overhang() -> None:
    pool = AvgPool2d((2, 2), (2, 2), padding=(1, 0, 0, 0), ceil_mode=True)
    assert pool.apply(IMAGE)[0, 0].tolist() == [[1 / 4, 1 / 2], [3 / 4, 1 / 2]]


def test_avg_pool_may_leave_the_padding_out() -> None:
    pool = AvgPool2d((2, 2), (2, 2), padding=(1, 0, 0, 0), count_include_pad=False)
    assert pool.apply(IMAGE)[0, 0].tolist() == [[1 / 2], [3 / 4]]


def test_avg_pool_divisor_replaces_the_count() -> None:
    assert AvgPool2d((2, 2), (1, 1), divisor=2).apply(IMAGE)[0, 0].tolist() == [[1.5, 1.0], [1.5, 1.5]]


def test_avg_pool1d_averages_a_line() -> None:
    assert AvgPool1d((2,), (2,)).apply(np.array([[[1, 0, 1, 1]]], np.uint8))[0].tolist() == [[0.5, 1.0]]


def test_max_pool_of_spikes_is_their_or() -> None:
    pool = MaxPool2d((2, 2), (1, 1))
    spikes = pool.apply(np.array([[[[0, 0, 1], [0, 0, 0]]]], np.uint8))
    assert spikes.tolist() == [[[[0, 1]]]]
    assert pool.infer(Signal((1, 2, 3), Kind.SPIKE)).kind is Kind.SPIKE


def test_max_pool_padding_never_wins_over_negative_values() -> None:
    pool = MaxPool1d((2,), (1,), padding=(1, 1))
    assert pool.apply(np.array([[[-3.0, -2.0]]], np.float32)).tolist() == [[[-3, -2, -2]]]


def test_max_pool_dilation_looks_at_every_other_element() -> None:
    assert MaxPool1d((2,), (1,), dilation=(2,)).apply(np.array([[[1, 9, 2, 0]]], np.float32)).tolist() == [[[2, 9]]]


def test_pool_refuses_windows_of_nothing_but_padding() -> None:
    with pytest.raises(UserError, match="use less padding"):
        MaxPool1d((1,), (1,), padding=(1, 0)).infer(Signal((1, 3)))


def test_pool_refuses_a_kernel_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="smaller kernel"):
        MaxPool2d((4, 4), (1, 1)).infer(Signal((1, 3, 3)))


def test_pool_says_how_many_numbers_it_needs() -> None:
    with pytest.raises(UserError, match="4 for padding"):
        AvgPool2d((2, 2), (2, 2), padding=(1, 1))  # type: ignore[arg-type]


@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    pad=st.integers(0, 2),
    ceil=st.booleans(),
)
def test_windows_start_within_input_or_front_padding(size: int, kernel: int, stride: int, pad: int, ceil: bool) -> None:
    pad = min(pad, kernel // 2)
    window = Window(kernel, stride, pad, pad, ceil=ceil)
    outputs = window.outputs(size)
    last_start = (outputs - 1) * stride
    if outputs:
        assert last_start < size + pad or not ceil
        assert ceil or last_start + kernel <= size + 2 * pad
    next_start = outputs * stride
    assert next_start + kernel > size + 2 * pad or (ceil and next_start >= size + pad)


def test_adaptive_pool_regions_overlap_where_sizes_do_not_divide() -> None:
    x = np.array([[[[1, 2, 3]]]], np.float32)
    assert AdaptiveAvgPool2d((1, 2)).apply(x).tolist() == [[[[1.5, 2.5]]]]


def test_global_pool_is_the_mean_over_space() -> None:
    assert GlobalAvgPool().apply(IMAGE).tolist() == [[np.float32(6) / np.float32(9)]]
    assert GlobalAvgPool(keepdims=True).infer(Signal((4, 3, 3))).shape == (4, 1, 1)


def test_global_pool_agrees_with_adaptive_pool_of_size_one() -> None:
    x = np.random.default_rng(0).integers(0, 2, (2, 3, 7, 7), np.uint8)
    assert GlobalAvgPool(keepdims=True).apply(x).tobytes() == AdaptiveAvgPool2d((1, 1)).apply(x).tobytes()


def test_global_pool_refuses_an_input_without_space() -> None:
    with pytest.raises(UserError, match="remove it"):
        GlobalAvgPool().infer(Signal((4,)))
