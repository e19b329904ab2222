"""The three levels of sharing, counted."""

from __future__ import annotations

import itertools

import numpy as np

from synfire.graph import Graph, Synapse
from synfire.graph.passes import share
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.identity import Identity
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear

X = Signal((2,), Kind.VALUE, Clock.REQUEST)
WEIGHT_BYTES = 4 * (2 * 2 + 2)
LIF_BYTES = 3 * 4


def linear(seed: int) -> Linear:
    return Linear(np.random.default_rng(seed).normal(size=(2, 2)), np.zeros(2))


def model(*seeds: int, signal: Signal = X) -> Graph:
    """A current, then Linear + LIF for each seed."""
    operators = {"in": ConstantCurrent(2)}
    names = ["x", "in"]
    for i, seed in enumerate(seeds):
        operators |= {f"linear{i}": linear(seed), f"lif{i}": LIF()}
        names += [f"linear{i}", f"lif{i}"]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": signal}, {"y": names[-1]})


def groups_of(level: object) -> set[frozenset[str]]:
    return {frozenset(members) for members in level.groups.values() if len(members) > 1}  # type: ignore[attr-defined]


def test_a_common_stem_is_computed_once_and_heads_only_share_their_structure() -> None:
    sharing = share({"a": model(1, 2), "b": model(1, 3)})
    assert groups_of(sharing.computation) == {
        frozenset({"a.in", "b.in"}),
        frozenset({"a.linear0", "b.linear0"}),
        frozenset({"a.lif0", "b.lif0"}),
    }
    assert frozenset({"a.linear1", "b.linear1"}) not in groups_of(sharing.content)
    # The first Linear reads values, the second spikes: two classes of two.
    assert frozenset({"a.linear1", "b.linear1"}) in groups_of(sharing.structural)


def test_levels_count_operators_and_bytes() -> None:
    sharing = share({"a": model(1, 2), "b": model(1, 3)})
    assert sharing.content.operators == 10
    assert sharing.content.bytes == 4 * WEIGHT_BYTES + 4 * LIF_BYTES
    assert sharing.content.distinct == 5  # the current, three Linears, the LIF
    assert sharing.content.distinct_bytes == 3 * WEIGHT_BYTES + LIF_BYTES
    assert sharing.content.saved_bytes == WEIGHT_BYTES + 3 * LIF_BYTES
    assert sharing.computation.shared == 6
    assert sharing.structural.shared == 10


def test_equal_content_behind_unequal_input_is_not_computed_once() -> None:
    sharing = share({"a": model(1, 5), "b": model(2, 5)})
    assert frozenset({"a.linear1", "b.linear1"}) in groups_of(sharing.content)
    assert groups_of(sharing.computation) == {frozenset({"a.in", "b.in"})}


def test_inputs_of_other_signals_share_no_computation() -> None:
    sharing = share({"a": model(1), "b": model(1, signal=Signal((3, 2), Kind.VALUE, Clock.REQUEST))})
    assert groups_of(sharing.computation) == set()
    assert groups_of(sharing.content)


def test_two_inputs_of_one_graph_are_told_apart() -> None:
    graph = Graph(
        {"p": Identity(), "q": Identity(), "sum": Add()},
        (Synapse("a", "p"), Synapse("b", "q"), Synapse("p", "sum", 0), Synapse("q", "sum", 1)),
        {"a": X, "b": X},
        {"y": "sum"},
    )
    assert groups_of(share({"m": graph}).computation) == set()
    assert groups_of(share({"m": graph}).content) == {frozenset({"m.p", "m.q"})}


def recurrent(seed: int, delay: int) -> Graph:
    return Graph(
        {"in": ConstantCurrent(2), "sum": Add(), "fire": LIF(), "back": linear(seed)},
        (
            Synapse("x", "in"),
            Synapse("in", "sum", 0),
            Synapse("back", "sum", 1, delay),
            Synapse("sum", "fire"),
            Synapse("fire", "back"),
        ),
        {"x": X},
        {"y": "fire"},
    )


def test_equal_loops_are_computed_once() -> None:
    sharing = share({"a": recurrent(1, 1), "b": recurrent(1, 1)})
    assert sharing.computation.distinct == 4


def test_a_difference_anywhere_along_a_loop_parts_the_whole_loop() -> None:
    for other in (recurrent(2, 1), recurrent(1, 2)):
        assert groups_of(share({"a": recurrent(1, 1), "b": other}).computation) == {frozenset({"a.in", "b.in"})}


def test_nested_graphs_share_by_their_operators() -> None:
    inner = Graph({"lif": LIF()}, (Synapse("x", "lif"),), {"x": Signal((2,))}, {"y": "lif"})
    graph = Graph({"p": inner, "q": inner}, (Synapse("x", "p"), Synapse("p", "q")), {"x": Signal((2,))}, {"y": "q"})
    assert groups_of(share({"m": graph}).content) == {frozenset({"m.p.lif", "m.q.lif"})}
