"""Requests that a model is measured on, and where they are from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from synfire.graph import Graph
from synfire.ops import Array

FEW = 16
"""Samples of a model for which there is no data here: as many as the largest batch that is measured."""


@dataclass(frozen=True)
class Samples:
    """`count` requests side by side, with their classes where these are known; `batched` says that they may be computed together."""

    inputs: Mapping[str, Array]
    count: int
    steps: int
    labels: Array | None
    batched: bool

    @classmethod
    def of(cls, graph: Graph, inputs: Mapping[str, Array], labels: Array | None = None) -> Samples:
        """The requests that these arrays hold, `(batch, …)` or `(steps, batch, …)`."""
        batched = not any(-1 in signal.shape for signal in graph.signals().values())
        return cls(inputs, count_of(graph, inputs), graph.steps or steps_of(graph, inputs), labels, batched)

    def part(self, graph: Graph, start: int, count: int) -> dict[str, Array]:
        """`count` of the requests, beginning with number `start`."""
        return part_of(graph, self.inputs, slice(start, start + count))


@dataclass(frozen=True)
class Source:
    """Where a model's samples are from: in `words` for people, and by a `digest` that other samples do not have.

    `read` gives all of them, or the first so many; nothing is read before.
    """

    words: str
    digest: str
    read: Callable[[int | None], Samples]


def part_of(graph: Graph, inputs: Mapping[str, Array], chosen: slice | Array) -> dict[str, Array]:
    """Some of the requests that these arrays hold side by side."""
    return {name: array[:, chosen] if graph.inputs[name].timed else array[chosen] for name, array in inputs.items()}


def count_of(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """How many requests these arrays hold side by side."""
    return next((inputs[name].shape[1 if signal.timed else 0] for name, signal in graph.inputs.items()), 1)


def steps_of(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """Time steps of a request whose inputs bring their own time axis; 1 without one."""
    return next((inputs[name].shape[0] for name, signal in graph.inputs.items() if signal.timed), 1)
