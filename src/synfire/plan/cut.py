"""Where a graph may be cut, and where each granularity cuts it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from synfire.base.errors import UnknownName
from synfire.graph import Graph, strong_components
from synfire.ops import Kind
from synfire.plan.costs import Costs

Group = tuple[str, ...]
"""Operators that stay together, in the graph's order."""

CHEAP = (Kind.SPIKE, Kind.COUNT)
"""Kinds of signals that the wire packs."""

COPIES = "ConstantCurrent"
"""The kind of operator whose output is its input, once per step."""


def atoms(graph: Graph) -> tuple[Group, ...]:
    """The smallest groups that may become stages, in a topological order.

    Members of a cycle are one atom: its state must be stepped in one place. An encoder of constant current is one with
    its first consumer: as a stage of its own it would send copies of its input.
    """
    components = strong_components({name: [s.source for s in graph.arriving(name)] for name in graph.operators})
    ordered = [tuple(name for name in graph.order() if name in members) for members in components]
    return _with_consumers(graph, ordered)


def cut(graph: Graph, granularity: str, costs: Costs | None = None) -> tuple[Group, ...]:
    """The groups of operators that become stages, in a topological order; each operator is in exactly one.

    `model` is one stage, `operator` a stage per atom, `block` cuts behind neuron layers where one packed signal crosses.
    `auto` depends on the workers too and is `synfire.plan.plan_model`'s. Raises `UnknownName`.
    """
    cutters: dict[str, Callable[[Graph, Costs], tuple[Group, ...]]] = {
        "model": lambda graph, costs: (graph.order(),),
        "operator": lambda graph, costs: atoms(graph),
        "block": _blocks,
    }
    if granularity not in cutters:
        raise UnknownName.among("granularity", granularity, [*cutters, "auto"])
    return cutters[granularity](graph, costs or Costs())


def join(groups: Iterable[Group]) -> Group:
    """The groups as one."""
    return tuple(name for group in groups for name in group)


def crossing(graph: Graph, before: Iterable[str]) -> tuple[str, ...]:
    """The operators in `before` whose signals are read by operators that are not, in the graph's order."""
    inside = set(before)
    sources = {s.source for s in graph.synapses if s.source in inside and s.target not in inside}
    return tuple(name for name in graph.order() if name in sources)


def boundaries(graph: Graph, groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """For each place between two groups: the operators whose signals cross it."""
    return [crossing(graph, join(groups[: i + 1])) for i in range(len(groups) - 1)]


def _blocks(graph: Graph, costs: Costs) -> tuple[Group, ...]:
    """Cut where exactly one packed signal crosses; of neighbouring places (a pool after neurons) take the cheapest.

    Inside a residual or attention block two signals or more cross, so it stays whole.
    """
    groups = atoms(graph)
    crossings = boundaries(graph, groups)
    chosen: list[int] = []
    for i, sources in enumerate(crossings):
        if not packed(graph, sources):
            continue
        size = costs.encoded(graph, sources[0]).bytes
        if chosen and chosen[-1] >= _stretch(graph, crossings, i):
            if size < costs.encoded(graph, crossings[chosen[-1]][0]).bytes:
                chosen[-1] = i
        else:
            chosen.append(i)
    bounds = [0, *(i + 1 for i in chosen), len(groups)]
    return tuple(join(groups[a:b]) for a, b in itertools.pairwise(bounds))


def packed(graph: Graph, sources: Sequence[str]) -> bool:
    """Whether one signal crosses, and it is spikes or counts per time step."""
    return len(sources) == 1 and graph.signals()[sources[0]].timed and graph.signals()[sources[0]].kind in CHEAP


def _stretch(graph: Graph, crossings: Sequence[tuple[str, ...]], i: int) -> int:
    """The first of the places up to `i` between which the packed signal is only reshaped or pooled."""
    while i > 0 and packed(graph, crossings[i - 1]) and _only_passes(graph, crossings[i][0], crossings[i - 1][0]):
        i -= 1
    return i


def _only_passes(graph: Graph, name: str, source: str) -> bool:
    """Whether operator `name` has no memory and turns `source`'s packed signal into another."""
    sources = [s.source for s in graph.arriving(name)]
    return sources == [source] and not graph.operator(name).initial_state(1, *graph.signals_into(name))


def _with_consumers(graph: Graph, groups: Sequence[Group]) -> tuple[Group, ...]:
    """Every encoder of constant current moved into the first group that reads it."""
    waiting = {group[0] for group in groups if len(group) == 1 and _copies(graph, group[0])}
    moved = []
    for group in groups:
        if group[0] in waiting:
            continue
        read = [s.source for name in group for s in graph.arriving(name)]
        carried = [name for name in dict.fromkeys(read) if name in waiting]
        waiting -= set(carried)
        moved.append((*carried, *group))
    return tuple(moved)


def _copies(graph: Graph, name: str) -> bool:
    """Whether the operator only repeats its input, for others than such operators."""
    consumers = [s.target for s in graph.synapses if s.source == name]
    kinds = {graph.operator(each).kind for each in consumers}
    return graph.operator(name).kind == COPIES and bool(kinds) and COPIES not in kinds
