"""NeighbourhoodAggregation: one node of a graph that the request brings, with the whole graph's bits."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.neighbourhood_aggregation import NeighbourhoodAggregation
from synfire.zoo import neighbourhood

X = np.array([[1.0, 8.0], [2.0, 0.0], [4.0, 0.0]], np.float32)
PATH = np.array([[0, 1], [1, 2]])


def index(*values: object) -> Array:
    return np.array(values, np.int64)


def some_graph(seed: int, nodes: int = 25) -> tuple[Array, Array]:
    """Random features, and random edges in random order and direction."""
    rng = np.random.default_rng(seed)
    edges = rng.permutation(np.argwhere(np.triu(rng.random((nodes, nodes)) < 0.12, 1)))
    turned = rng.random(len(edges)) < 0.5
    edges[turned] = edges[turned, ::-1]
    return rng.random((nodes, 5), np.float32), edges.T


def test_one_hop_by_hand() -> None:
    # Row 0 has one neighbour, row 1, which has three (two of them elsewhere): 1/2 of itself and 1/√(2·4) of row 1.
    y = NeighbourhoodAggregation(hops=1).aggregate(X[:2], index([0, 1]), index(1, 3))
    np.testing.assert_allclose(y, [1 / 2 + 2 / 8**0.5, 4.0], rtol=1e-7)


def test_two_hops_by_hand() -> None:
    # The path 0 – 1 – 2, with loops of degrees 2, 3, 2; after one hop rows 0 and 1 are
    # x₀/2 + x₁/√6 and x₀/√6 + x₁/3 + x₂/√6; after the second, row 0 is the first/2 + the second/√6.
    root = 6**0.5
    zero, one = 1 / 2 + 2 / root, 1 / root + 2 / 3 + 4 / root
    y = NeighbourhoodAggregation(hops=2).aggregate(X, PATH, index(1, 2, 1))
    np.testing.assert_allclose(y[0], zero / 2 + one / root, rtol=1e-7)


def test_clipping_keeps_the_answer_a_probability() -> None:
    assert NeighbourhoodAggregation(hops=1, clip=True).aggregate(X, PATH, index(1, 2, 1)).tolist() == [1.0, 1.0]


def test_a_lone_node_keeps_its_features() -> None:
    alone = np.empty((0, 2), np.int64)
    assert NeighbourhoodAggregation(hops=2).aggregate(X[:1], alone, index(0)).tolist() == [1.0, 8.0]


@given(seed=st.integers(0, 10**6), hops=st.integers(0, 4), clip=st.booleans())
def test_every_node_has_the_whole_graphs_bits(seed: int, hops: int, clip: bool) -> None:
    x, edges = some_graph(seed)
    (whole,) = GraphAggregation.from_edges(edges, len(x), hops, clip).apply(x[None])
    for node in range(len(x)):
        alone = neighbourhood(x, edges, node, hops)
        y = NeighbourhoodAggregation(hops, clip).aggregate(alone["features"], alone["edges"], alone["degrees"])
        assert y.tobytes() == whole[node].tobytes()


@given(seed=st.integers(0, 10**6), hops=st.integers(1, 3))
def test_every_node_has_the_trainings_bits(features: ModuleType, seed: int, hops: int) -> None:
    x, edges = some_graph(seed)
    trained = features.graph_aggregate(x, edges, hops)
    alone = neighbourhood(x, edges, 7, hops)
    y = NeighbourhoodAggregation(hops, clip=True).aggregate(alone["features"], alone["edges"], alone["degrees"])
    assert y.tobytes() == trained[7].tobytes()


@given(seed=st.integers(0, 10**6))
def test_the_order_of_rows_changes_no_bit_and_that_of_edges_the_last_one_at_most(seed: int) -> None:
    x, edges = some_graph(seed)
    rng, aggregation = np.random.default_rng(seed), NeighbourhoodAggregation(hops=2)
    alone = neighbourhood(x, edges, 3)
    y = aggregation.aggregate(alone["features"], alone["edges"], alone["degrees"])
    order = np.concatenate([[0], 1 + rng.permutation(len(alone["features"]) - 1)])
    place = np.argsort(order)
    again = aggregation.aggregate(alone["features"][order], place[alone["edges"]], alone["degrees"][order])
    assert again.tobytes() == y.tobytes()
    shuffled = aggregation.aggregate(alone["features"], rng.permutation(alone["edges"]), alone["degrees"])
    np.testing.assert_array_max_ulp(shuffled, y, maxulp=1)


@given(seed=st.integers(0, 10**6))
def test_the_whole_graph_may_be_sent_for_a_node(seed: int) -> None:
    x, edges = some_graph(seed)
    degrees = np.bincount(edges.ravel(), minlength=len(x))
    (whole,) = GraphAggregation.from_edges(edges, len(x), hops=2).apply(x[None])
    assert NeighbourhoodAggregation(hops=2).aggregate(x, edges.T, degrees).tobytes() == whole[0].tobytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": X[:0], "degrees": index()}, "the node asked for as row 0"),
        ({"x": X[:, :0]}, "the node asked for as row 0"),
        ({"x": X[:, 0]}, r"send \(n, feature\)"),
        ({"x": np.where(X == 4, np.nan, X)}, "row 2 of the neighbourhood holds NaN or infinity; send finite features"),
        ({"edges": index([0, 1], [1, 3])}, r"edge 1 of the neighbourhood joins rows \[1, 3\]; the rows go from 0 to 2"),
        ({"edges": index([0, 1], [-1, 2])}, r"edge 1 .* the rows go from 0 to 2"),
        ({"edges": index([0, 1], [1, 1])}, r"edge 1 .* leave self loops out"),
        ({"edges": index([0, 1], [1, 2], [1, 0])}, r"edge 2 .* send each edge once, in one direction"),
        ({"edges": index([0, 1, 2])}, r"send pairs of row numbers, \(m, 2\)"),
        ({"edges": PATH.astype(np.float32)}, r"send pairs of row numbers, \(m, 2\)"),
        ({"degrees": index(1, 2)}, "one whole number for each of 3 rows"),
        ({"degrees": index(1, 1, 1)}, "row 1 has degree 1, but 2 edges name it; a degree counts all"),
        ({"degrees": index(1, 2, -1)}, "row 2 has degree -1, but 1 edges name it"),
        ({"degrees": index(1, 4, 1)}, "row 1, 1 hops from row 0, has degree 4, .* send every node within 2 hops"),
        ({"degrees": index(2, 2, 1)}, "row 0, 0 hops from row 0, has degree 2, but 1 edges name it"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_place(changes: dict[str, Array], said: str) -> None:
    parts = {"x": X, "edges": PATH, "degrees": index(1, 2, 1), **changes}
    with pytest.raises(UserError, match=said):
        NeighbourhoodAggregation(hops=2).aggregate(**parts)


def test_a_row_at_the_rim_may_have_neighbours_that_are_not_sent() -> None:
    y = NeighbourhoodAggregation(hops=2).aggregate(X, PATH, index(1, 2, 9))
    assert np.isfinite(y).all()


ROWS, EDGES, DEGREES = (
    Signal(shape, kind, Clock.REQUEST)
    for shape, kind in [((-1, 4), Kind.VALUE), ((-1, 2), Kind.INDEX), ((-1,), Kind.INDEX)]
)


def test_the_answer_is_one_row() -> None:
    assert NeighbourhoodAggregation().infer(ROWS, EDGES, DEGREES) == Signal((4,), Kind.VALUE, Clock.REQUEST)


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ((ROWS, DEGREES, EDGES), "input of 2 dimensions"),
        ((EDGES, EDGES, DEGREES), "at port 0, takes value or spike or count"),
        ((ROWS, ROWS, DEGREES), "at port 1, takes index"),
        ((ROWS, EDGES.with_(shape=(-1, 3)), DEGREES), r"edges \(−1, 2\), got .* check its ports"),
        ((ROWS, EDGES, DEGREES.with_(kind=Kind.COUNT)), "at port 2, takes index"),
        ((ROWS.with_(clock=Clock.STEP), EDGES, DEGREES), "request"),
    ],
)
def test_signals_at_the_wrong_port_are_refused(signals: tuple[Signal, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        NeighbourhoodAggregation().infer(*signals)


def test_hops_are_not_negative() -> None:
    with pytest.raises(UserError, match="must be ≥ 0"):
        NeighbourhoodAggregation(hops=-1)


@pytest.mark.parametrize("node", [-1, 25])
def test_a_node_that_is_none_has_no_neighbourhood(node: int) -> None:
    with pytest.raises(UserError, match=f"no node {node}; the graph's go from 0 to 24"):
        neighbourhood(*some_graph(0), node)
