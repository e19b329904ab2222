"""GraphAggregation, KNearestAggregation and the tables beside them; equal to the training's own features."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Signal
from synfire.ops.constant import Constant
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.k_nearest_aggregation import KNearestAggregation
from synfire.ops.lookup import Lookup
from synfire.ops.select_row import SelectRow
from synfire.ops.sparse_constant import SparseConstant


def test_graph_aggregation_by_hand() -> None:
    # 0 – 1: both of degree 2 with their loops, so every weight is 1/2.
    aggregation = GraphAggregation.from_edges(np.array([[0], [1]]), nodes=2)
    assert np.allclose(aggregation.apply(np.array([[[1.0], [3.0]]], np.float32)), [[[2.0], [2.0]]])


def test_graph_aggregation_adds_neighbours_in_the_order_of_the_edges() -> None:
    aggregation = GraphAggregation.from_edges(np.array([[2, 0, 1], [1, 2, 0]]), nodes=3)
    assert aggregation.indptr.tolist() == [0, 2, 4, 6]
    assert aggregation.indices.tolist() == [2, 1, 0, 2, 1, 0]


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_graph_aggregation_equals_the_trainings_features(features: ModuleType, hops: int) -> None:
    rng = np.random.default_rng(hops)
    x = (rng.random((40, 9)) < 0.3).astype(np.float32)
    upper = np.argwhere(np.triu(rng.random((40, 40)) < 0.15, 1)).T
    aggregation = GraphAggregation.from_edges(upper, nodes=40, hops=hops, clip=True)
    assert aggregation.apply(x[None])[0].tobytes() == features.graph_aggregate(x, upper, hops).tobytes()


@pytest.mark.parametrize(
    ("indptr", "indices", "cure"),
    [([0, 1], [1], "nodes from 0 to 0"), ([0, 2], [0], "ascend from 0"), ([0, 1, 0], [], "ascend from 0")],
)
def test_graph_aggregation_refuses_a_broken_graph(indptr: list[int], indices: list[int], cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        GraphAggregation(np.array(indptr), np.array(indices, np.int64))


def test_k_nearest_takes_the_lower_index_of_equals() -> None:
    reference = np.array([[2, 0], [0, 0], [0, 2], [1, 1]])
    nearest = KNearestAggregation(reference, np.array([3, 3, 3, 3]), k=3).nearest(np.array([[1, 0]]))
    assert nearest.tolist() == [[0, 1, 3]]


def test_k_nearest_by_hand() -> None:
    # d_q = 2; the neighbour [4] has degree 8: 2·0.5/2 + 4·0.5/√16 = 1
    aggregation = KNearestAggregation(np.array([[4], [9]]), np.array([8, 2]), k=1, scale=0.5)
    assert aggregation.apply(np.array([[2]], np.int64)).tolist() == [[1.0]]
    assert aggregation.apply(np.array([[1.0]], np.float32)).tolist() == [[1.0]]


@given(seed=st.integers(0, 999), k=st.integers(1, 5))
def test_k_nearest_equals_the_trainings_features(features: ModuleType, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    reference, query = rng.integers(0, 17, (12, 4)), rng.integers(0, 17, (3, 4))
    degrees = features.knn_degrees(reference, k)
    aggregation = KNearestAggregation(reference, degrees, k=k, scale=1 / 16)
    expected = features.knn_aggregate(query, reference, degrees, k, 1 / 16)
    assert aggregation.apply((query / 16).astype(np.float32)).tobytes() == expected.tobytes()


def test_k_nearest_refuses_values_off_its_scale() -> None:
    aggregation = KNearestAggregation(np.array([[4]]), np.array([2]), k=1)
    for wrong in (np.inf, np.nan, 2.0**21):
        with pytest.raises(UserError, match="on that scale"):
            aggregation.apply(np.array([[wrong]], np.float32))


def test_k_nearest_refuses_more_neighbours_than_rows() -> None:
    with pytest.raises(UserError, match="choose 1 to 2"):
        KNearestAggregation(np.array([[4], [1]]), np.array([2, 2]), k=3)


def test_constant_is_repeated_for_the_batch() -> None:
    assert Constant(np.array([1.5])).apply(np.zeros((3, 7))).tolist() == [[1.5]] * 3
    assert Constant(np.array([1])).infer(Signal((7,), clock=Clock.REQUEST)) == Signal((1,), Kind.INDEX, Clock.REQUEST)


def test_sparse_constant_unpacks_what_it_was_made_of() -> None:
    dense = np.array([[0, 2, 0], [0, 0, 0], [1, 0, -3]], np.float32)
    sparse = SparseConstant.of(dense)
    assert sparse.values.tolist() == [2, 1, -3]
    assert sparse.apply(np.zeros((2, 1))).tolist() == [dense.tolist()] * 2


def test_sparse_constant_refuses_columns_outside_its_width() -> None:
    with pytest.raises(UserError, match="0 to width − 1 = 1"):
        SparseConstant(np.array([0, 1]), np.array([2]), np.array([1.0]), 2)


def test_lookup_and_select_row_pick_rows() -> None:
    table, index = np.array([[1, 2], [3, 4]], np.float32), np.array([1, 0])
    assert Lookup(table).apply(index).tolist() == [[3, 4], [1, 2]]
    assert SelectRow().apply(np.stack([table, table + 4]), index).tolist() == [[3, 4], [5, 6]]


@pytest.mark.parametrize("row", [-1, 2])
def test_lookup_refuses_a_row_that_it_does_not_hold(row: int) -> None:
    with pytest.raises(UserError, match=f"holds rows 0 to 1, and row {row} was asked for"):
        Lookup(np.ones((2, 1))).apply(np.array([row]))
