"""What several models have in common, at three levels that are never to be mixed up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synfire.graph.flatten import flatten
from synfire.graph.graph import Graph


@dataclass(frozen=True)
class Level:
    """One level of sharing, counted over all operators of all graphs.

    `groups` maps a digest to the operators that agree in it, each as `model.operator`. A group of one shares nothing.
    Bytes are those of parameters: `distinct_bytes` counts each group once (the largest of it, should they differ).
    """

    groups: Mapping[str, tuple[str, ...]]
    operators: int
    bytes: int
    distinct_bytes: int

    @property
    def distinct(self) -> int:
        """How many different ones there are."""
        return len(self.groups)

    @property
    def shared(self) -> int:
        """How many operators have an equal somewhere."""
        return sum(len(members) for members in self.groups.values() if len(members) > 1)

    @property
    def saved_bytes(self) -> int:
        """Parameter bytes that need not be held twice."""
        return self.bytes - self.distinct_bytes


@dataclass(frozen=True)
class Sharing:
    """What graphs share.

    - `structural`: kind, shapes and number formats agree. One image, kernel and warm spare serve all; the weights differ,
      so `distinct_bytes` is what one spare of every class must have room for.
    - `content`: the parameters agree too. One stored blob and one weight image serve all.
    - `computation`: the same content on the same input from the same state: one execution serves all. Graph inputs are
      taken to be equal when place and signal agree, that is, when one request is sent to all the models.
    """

    structural: Level
    content: Level
    computation: Level


def share(graphs: Mapping[str, Graph]) -> Sharing:
    """Count what the graphs, by name, share with each other and within themselves. Nested graphs are flattened."""
    flat = {model: flatten(graph) for model, graph in graphs.items()}
    content = {
        (model, name): graph.operator(name).content_digest() for model, graph in flat.items() for name in graph.order()
    }
    structural = {
        (model, name): graph.operator(name).structural_digest(*graph.signals_into(name))
        for model, graph in flat.items()
        for name in graph.order()
    }
    return Sharing(*(_level(flat, digests) for digests in (structural, content, _computations(flat, content))))


_Digests = dict[tuple[str, str], str]


def _level(graphs: Mapping[str, Graph], digests: _Digests) -> Level:
    groups: dict[str, list[tuple[str, int]]] = {}
    for (model, name), digest in digests.items():
        size = graphs[model].operator(name).parameter_bytes
        groups.setdefault(digest, []).append((f"{model}.{name}", size))
    return Level(
        {digest: tuple(member for member, _ in members) for digest, members in groups.items()},
        operators=len(digests),
        bytes=sum(size for members in groups.values() for _, size in members),
        distinct_bytes=sum(max(size for _, size in members) for members in groups.values()),
    )


def _computations(graphs: Mapping[str, Graph], content: _Digests) -> _Digests:
    """Operators get one digest when no input sequence tells them apart.

    Starting from the content, operators are parted by what arrives at them until no group parts any more. Cycles need
    no special care: a recurrent operator is parted from another when something along their loops differs.
    """
    digests, groups = content, 0
    while groups < (groups := len(set(digests.values()))):
        digests = {key: _computation(graphs[key[0]], key, digests) for key in digests}
    return digests


def _computation(graph: Graph, key: tuple[str, str], digests: _Digests) -> str:
    model, name = key

    def source_of(source: str) -> list[Any]:
        if source in graph.inputs:
            signal = graph.inputs[source]
            return [list(graph.inputs).index(source), list(signal.shape), signal.kind, signal.clock]
        return [digests[model, source]]

    arriving = [[s.port, s.delay_steps, source_of(s.source)] for s in graph.arriving(name)]
    return hashlib.sha256(json.dumps([digests[key], arriving]).encode()).hexdigest()
