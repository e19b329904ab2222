"""Operators that join signals: Add, Multiply, AndNot, MatMul, SelfAttention, TokenSum, TokenMean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.and_not import AndNot
from synfire.ops.mat_mul import MatMul
from synfire.ops.multiply import Multiply
from synfire.ops.self_attention import SelfAttention
from synfire.ops.token_mean import TokenMean
from synfire.ops.token_sum import TokenSum

SPIKES = Signal((2,), Kind.SPIKE)
VALUES = Signal((2,), Kind.VALUE)
A, B = np.array([[1, 1]], np.uint8), np.array([[0, 1]], np.uint8)


def test_add_of_spikes_is_a_count() -> None:
    assert Add().infer(SPIKES, SPIKES).kind is Kind.COUNT
    assert Add().apply(A, B).tolist() == [[1, 2]]


def test_add_of_a_value_is_a_value_in_port_order() -> None:
    big, small = np.full((1, 1), 1e8, np.float32), np.full((1, 1), 3.0, np.float32)
    assert Add().infer(SPIKES, VALUES).kind is Kind.VALUE
    assert Add().apply(big, small, -big) != Add().apply(big, -big, small)


def test_add_refuses_unlike_shapes_and_clocks() -> None:
    with pytest.raises(UserError, match="equal or 1"):
        Add().infer(SPIKES, Signal((3,), Kind.SPIKE))
    with pytest.raises(UserError, match="insert a Reshape"):
        Add().infer(SPIKES, Signal((1, 2), Kind.SPIKE))
    with pytest.raises(UserError, match="put an encoder"):
        Add().infer(VALUES, Signal((2,), Kind.VALUE, Clock.REQUEST))


def test_multiply_of_spikes_is_and() -> None:
    assert Multiply().infer(SPIKES, SPIKES).kind is Kind.SPIKE
    assert Multiply().apply(A, B).tolist() == [[0, 1]]


def test_multiply_gates_tokens_with_one_spike_per_channel() -> None:
    q, mask = np.array([[[1, 0], [1, 1]]], np.uint8), np.array([[[1], [0]]], np.uint8)
    assert Multiply().apply(q, mask)[0].tolist() == [[1, 0], [0, 0]]


def test_and_not_is_x_where_the_other_is_silent() -> None:
    assert AndNot().apply(A, B).tolist() == [[1, 0]]
    assert AndNot().apply(np.array([[-2.5, 4]], np.float32), B).tolist() == [[-2.5, 0]]
    with pytest.raises(UserError, match="port 1"):
        AndNot().infer(SPIKES, VALUES)


def test_mat_mul_multiplies_matrices() -> None:
    a, b = np.array([[[1, 2]]], np.int32), np.array([[[3], [4]]], np.int32)
    assert MatMul().apply(a, b).tolist() == [[[11]]]
    assert MatMul(transpose_a=True, transpose_b=True).apply(a, b).tolist() == [[[3, 4], [6, 8]]]
    with pytest.raises(UserError, match="cannot multiply"):
        MatMul().infer(Signal((2, 3)), Signal((2, 3)))


def test_self_attention_by_hand() -> None:
    q = np.array([[[1, 0], [1, 1]]], np.uint8)
    k = np.array([[[1, 1], [0, 1]]], np.uint8)
    v = np.array([[[1, 0], [1, 1]]], np.uint8)
    assert SelfAttention(scale=0.5).apply(q, k, v)[0].tolist() == [[0.5, 0.0], [1.5, 0.5]]


@given(seed=st.integers(0, 999), tokens=st.integers(1, 6), per_head=st.integers(1, 5), heads=st.integers(1, 3))
def test_self_attention_is_the_same_in_either_association_and_layout(
    seed: int, tokens: int, per_head: int, heads: int
) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = rng.integers(0, 3, (3, 2, tokens, heads * per_head), np.int32)
    split = [each.reshape(2, tokens, heads, per_head).swapaxes(1, 2).astype(np.float32) for each in (q, k, v)]
    expected = (split[0] @ split[1].swapaxes(2, 3)) @ split[2] * np.float32(0.3)
    expected = expected.swapaxes(1, 2).reshape(2, tokens, -1)
    got = SelfAttention(heads, 0.3).apply(q, k, v)
    first = SelfAttention(heads, 0.3, "channels_first").apply(*(each.swapaxes(1, 2) for each in (q, k, v)))
    assert np.array_equal(got, expected)
    assert np.array_equal(first.swapaxes(1, 2), got)


def test_self_attention_refuses_values_heads_and_layouts_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="takes spike or count"):
        SelfAttention().infer(*[Signal((2, 2))] * 3)
    with pytest.raises(UserError, match="do not divide"):
        SelfAttention(heads=3).infer(*[Signal((2, 4), Kind.SPIKE)] * 3)
    with pytest.raises(UserError, match="'channels_first'"):
        SelfAttention(layout="rows")


def test_token_sum_counts_over_tokens() -> None:
    x = np.array([[[1, 0], [1, 1], [1, 0]]], np.uint8)
    assert TokenSum().apply(x).tolist() == [[3, 1]]
    assert TokenSum(axis=-1, keepdims=True).apply(x).tolist() == [[[1], [2], [1]]]
    assert TokenMean().apply(np.ones((1, 4, 2), np.uint8)).tolist() == [[1, 1]]
