"""What passes do to a flat graph: take operators away, and put others in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from synfire.graph.graph import Graph, Synapse
from synfire.ops import Operator


def only_reader(graph: Graph, name: str) -> Synapse | None:
    """The one synapse by which operator `name` is read; None when there are several, or the graph's answer is one."""
    leaving = graph.leaving(name)
    if len(leaving) != 1 or name in graph.outputs.values():
        return None
    return leaving[0]


def replaced(graph: Graph, operators: Mapping[str, Operator]) -> Graph:
    """The graph with other operators under some names."""
    return replace(graph, operators={**graph.operators, **operators})


def bypassed(graph: Graph, name: str) -> Graph:
    """The graph without operator `name`, which has one input: its readers read that input, delays added up."""
    (arriving,) = graph.arriving(name)
    synapses = [
        replace(s, source=arriving.source, delay_steps=s.delay_steps + arriving.delay_steps) if s.source == name else s
        for s in graph.synapses
        if s.target != name
    ]
    operators = {each: operator for each, operator in graph.operators.items() if each != name}
    outputs = {out: arriving.source if source == name else source for out, source in graph.outputs.items()}
    return replace(graph, operators=operators, synapses=tuple(synapses), outputs=outputs)


def to_fixed_point(graph: Graph, once: Callable[[Graph], Graph | None]) -> Graph:
    """Apply `once` until it answers None: there is nothing left to do."""
    while (changed := once(graph)) is not None:
        graph = changed
    return graph
