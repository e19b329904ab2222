"""Leaves out what no answer depends on."""

from __future__ import annotations

from dataclasses import replace

from synfire.graph.graph import Graph
from synfire.graph.passes.rewire import bypassed, to_fixed_point
from synfire.ops.identity import Identity


def remove_dead(graph: Graph) -> Graph:
    """The flat graph without operators that reach no output, and without Identity operators. Bit-identical.

    An Identity stays where it is needed: as an output that would else be an input of the graph, or that a delayed
    synapse feeds. Inputs of the graph stay, also unread ones: they are its interface.
    """
    graph = to_fixed_point(graph, _without_identity)
    alive = _alive(graph)
    if len(alive) == len(graph.operators):
        return graph
    operators = {name: each for name, each in graph.operators.items() if name in alive}
    return replace(graph, operators=operators, synapses=tuple(s for s in graph.synapses if s.target in alive))


def _alive(graph: Graph) -> set[str]:
    """The operators that some output depends on."""
    found: set[str] = set()
    pending = list(graph.outputs.values())
    while pending:
        name = pending.pop()
        if name in graph.operators and name not in found:
            found.add(name)
            pending += [s.source for s in graph.arriving(name)]
    return found


def _without_identity(graph: Graph) -> Graph | None:
    for name, each in graph.operators.items():
        if isinstance(each, Identity) and not _needed(graph, name):
            return bypassed(graph, name)
    return None


def _needed(graph: Graph, name: str) -> bool:
    (arriving,) = graph.arriving(name)
    if arriving.source == name:
        return True
    return name in graph.outputs.values() and (arriving.source in graph.inputs or arriving.delay_steps > 0)
