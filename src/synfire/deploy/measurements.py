"""What is measured of models, once for all that are variants of one another."""

from __future__ import annotations

from collections import defaultdict
from typing import Generic, TypeVar

import msgspec
import numpy as np

from synfire.deploy.samples import samples_of
from synfire.engines.engine import ENGINES
from synfire.engines.measure import measured
from synfire.graph import Graph
from synfire.plan import Costs, Hop

ALIKE = 0.5
"""Variants share at least this part of their parameters: then their spikes are as dense, and what they cost is the same."""

T = TypeVar("T")


class Variants(Generic[T]):
    """What was found out about models, for their variants too. A hundred fine-tuned models one by one would take minutes."""

    def __init__(self) -> None:
        self._known: defaultdict[tuple[object, ...], list[tuple[Graph, T]]] = defaultdict(list)

    def of(self, graph: Graph, way: str) -> T | None:
        """What is known of the flat graph, run that way, or of a variant of it; None where that is nothing."""
        known = self._known[way, *structure(graph)]
        return next((found for other, found in known if shared_part(graph, other) >= ALIKE), None)

    def keep(self, graph: Graph, way: str, found: T) -> None:
        self._known[way, *structure(graph)].append((graph, found))


class Measurements:
    """Costs by engine, where a `hop` from worker to worker takes so long, and each worker computes with so many `threads`."""

    def __init__(self, hop: Hop, threads: int = 1) -> None:
        self._hop = hop
        self._threads = threads
        self._known = Variants[Costs]()

    def of(self, graph: Graph, engine: str) -> Costs:
        """The flat graph's costs: measured, recalled, or those of a variant that has the same samples."""
        source = samples_of(graph)
        way = f"{engine} on {source.digest}"
        known = self._known.of(graph, way)
        if known is not None:
            return known
        costs = measured(graph, ENGINES[engine](), source, self._threads)
        costs = msgspec.structs.replace(costs, hop=self._hop)
        self._known.keep(graph, way, costs)
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
