"""What models cost, measured once for all that are variants of one another."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import numpy as np

from synfire.engines.engine import ENGINES
from synfire.engines.measure import measured
from synfire.graph import Graph
from synfire.plan import Costs, Hop
from synfire.zoo import sample

ALIKE = 0.5
"""Variants share at least this part of their parameters: then their spikes are as dense, and what they cost is the same."""


class Measurements:
    """Costs by engine, where a `hop` from worker to worker takes so long, and each worker computes with so many `threads`.

    A hundred fine-tuned models need not be measured one by one: that would take minutes.
    """

    def __init__(self, hop: Hop, threads: int = 1) -> None:
        self._hop = hop
        self._threads = threads
        self._known: defaultdict[tuple[object, ...], list[tuple[Graph, Costs]]] = defaultdict(list)

    def of(self, graph: Graph, engine: str) -> Costs:
        """The flat graph's costs: measured, recalled, or those of a variant."""
        known = self._known[engine, *structure(graph)]
        for other, costs in known:
            if shared_part(graph, other) >= ALIKE:
                return costs
        costs = measured(graph, ENGINES[engine](), sample(graph), self._threads)
        costs = msgspec.structs.replace(costs, hop=self._hop)
        known.append((graph, costs))
        return costs


def structure(graph: Graph) -> tuple[object, ...]:
    """What variants agree in: operators but for their parameters' content, and how they are joined."""
    digests = {name: graph.operator(name).structural_digest(*graph.signals_into(name)) for name in graph.order()}
    return tuple(digests.items()), graph.synapses, tuple(graph.outputs.items())


def shared_part(graph: Graph, other: Graph) -> float:
    """How much of the parameters of two graphs of one structure is the same, by bytes; 1 where there are none."""
    pairs = [
        (array, theirs)
        for name in graph
        for array, theirs in zip(
            graph.operator(name).parameters().values(), other.operator(name).parameters().values(), strict=True
        )
    ]
    total = sum(array.nbytes for array, _ in pairs)
    same = sum(array.nbytes for array, theirs in pairs if array is theirs or np.array_equal(array, theirs))
    return same / total if total else 1.0
