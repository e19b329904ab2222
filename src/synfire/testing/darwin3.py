"""Models that run partly on the emulated darwin3 chip: as much of them as it takes, the rest on cpu."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from synfire.devices.darwin3.refusals import refusals
from synfire.engines import Engine, Program
from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.darwin3 import Darwin3Engine
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Kind, Operator, Signal, State
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import LIF
from synfire.testing.zoo import inputs_of


@dataclass(frozen=True)
class Part:
    """A stage of a model and whether it runs on the chip."""

    on_chip: bool
    graph: Graph


def parts(graph: Graph) -> list[Part]:
    """A flat, simplified graph as stages in running order: whatever the chip does not refuse is on the chip.

    Where a cut makes a value cross, which one stage would have added up on its own, its readers are refused too.
    """
    refused = set(refusals(graph))
    while True:
        found = _parts(graph, refused)
        more = {name for each in found if each.on_chip for name in refusals(each.graph)}
        if not more:
            return found
        refused |= more


def _parts(graph: Graph, refused: Set[str]) -> list[Part]:
    level: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for name in graph.order():
        sources = [level[s.source] for s in graph.arriving(name) if s.source in level]
        lowest = max(sources, default=0)
        level[name] = lowest + (lowest % 2 == int(name in refused))
    members: dict[int, list[str]] = {}
    for name in graph.order():
        members.setdefault(level[name], []).append(name)
    return [Part(number % 2 == 1, stage(graph, names)) for number, names in sorted(members.items())]


def stage(graph: Graph, names: Sequence[str]) -> Graph:
    """The part of a flat graph that consists of the named operators; inputs and outputs go by their source's name."""
    inside = set(names)
    synapses = tuple(s for s in graph.synapses if s.target in inside)
    outside = {s.source: graph.signals()[s.source] for s in synapses if s.source not in inside}
    read = {s.source for s in graph.synapses if s.source in inside and s.target not in inside}
    read |= {source for source in graph.outputs.values() if source in inside}
    operators = {name: graph.operator(name) for name in graph.order() if name in inside}
    return Graph(operators, synapses, outside, {name: name for name in operators if name in read})


class Hybrid:
    """Programs for the parts of a model; `run` hands whole requests from one to the next."""

    def __init__(self, graph: Graph, chip: Engine | None = None) -> None:
        self.graph = graph
        self.parts = parts(graph)
        chip = chip or Darwin3Engine()
        self.programs: list[Program] = [
            (chip if each.on_chip else CpuEngine()).build(each.graph) for each in self.parts
        ]

    def run(self, inputs: Mapping[str, Array], batch: int, steps: int) -> dict[str, Array]:
        """Every signal that crosses between parts, and the model's outputs by the name of their operator."""
        values: dict[str, Array] = dict(inputs)
        for program in self.programs:
            given = {name: values[name] for name in program.inputs}
            state: State = program.initial_state(batch)
            values |= program.run(state, given, steps)[1]
        return values

    def answers(self, requests: Array, batch: int = 50) -> Array:
        """The readout of each of `held_out`'s requests, for a model with one running output: `(sample, class)`."""
        (output,) = self.graph.outputs.values()
        found = []
        for start in range(0, len(requests), batch):
            given = requests[start : start + batch]
            found.append(self.run(inputs_of(self.graph, given), len(given), self.graph.steps or 1)[output][-1])
        return np.concatenate(found)


def wide_network(layers: int = 7, channels: int = 64, side: int = 32, seed: int = 0) -> Graph:
    """A convolutional stage of `layers` · `channels` · `side`² neurons: by default 458,752, which fill 112 cores of 4096."""
    rng = np.random.default_rng(seed)
    operators: dict[str, Operator | Graph] = {}
    for layer in range(layers):
        inputs = 2 if layer == 0 else channels
        weight = rng.normal(0.0, 2.0, (channels, inputs, 3, 3)) / np.sqrt(9 * inputs * 0.15)
        operators[f"conv{layer}"] = Conv2d(weight, rng.normal(0, 0.1, channels), padding=(1, 1, 1, 1))
        operators[f"lif{layer}"] = LIF()
    names = ["spikes", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"spikes": Signal((2, side, side), Kind.SPIKE)}, {names[-1]: names[-1]})
