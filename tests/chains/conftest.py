"""Graphs of models that only their signals are known of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from synfire.chains.operators import ChainStep
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.language_model import LanguageModel

NUMBERS = Signal((4,), Kind.VALUE, Clock.REQUEST)
SCORES = Signal((3,), Kind.VALUE, Clock.RUNNING)
SPIKES = Signal((3,), Kind.SPIKE, Clock.STEP)
TEXT = Signal((), Kind.BYTES, Clock.REQUEST)

GraphOf = Callable[[Mapping[str, Signal], Mapping[str, Signal]], Graph]


@pytest.fixture
def graph_of() -> GraphOf:
    """A graph with these inputs and outputs."""

    def make(inputs: Mapping[str, Signal], outputs: Mapping[str, Signal]) -> Graph:
        operators = {
            f"make {name}": ChainStep("fake", len(inputs), (each.shape, str(each.kind), str(each.clock)))
            for name, each in outputs.items()
        }
        synapses = tuple(Synapse(source, name, port) for name in operators for port, source in enumerate(inputs))
        return Graph(operators, synapses, inputs, {name: f"make {name}" for name in outputs})

    return make


@pytest.fixture
def models(graph_of: GraphOf) -> dict[str, Graph]:
    """Models of several kinds, by name."""
    bard = LanguageModel("gguf", (("bard.gguf", "0" * 64),), 1, 64)
    request = Signal((), Kind.BYTES, Clock.REQUEST)
    return {
        "reader": graph_of({"x": NUMBERS}, {"scores": SCORES, "spikes": SPIKES}),
        "small": graph_of({"x": NUMBERS}, {"y": SCORES}),
        "other": graph_of({"input": NUMBERS}, {"output": SCORES}),
        "adder": graph_of({"a": NUMBERS, "b": NUMBERS}, {"sum": NUMBERS}),
        "wider": graph_of({"x": Signal((5,), Kind.VALUE, Clock.REQUEST)}, {"y": SCORES}),
        "loose": graph_of({"x": Signal((-1,), Kind.VALUE, Clock.REQUEST)}, {"y": SCORES}),
        "after": graph_of({"x": SCORES.with_(clock=Clock.REQUEST)}, {"y": NUMBERS}),
        "over-time": graph_of({"s": SPIKES}, {"y": SCORES}),
        "indexed": graph_of({"i": Signal((3,), Kind.INDEX, Clock.REQUEST)}, {"y": SCORES}),
        "texts": graph_of({"t": TEXT}, {"t": TEXT}),
        "bard": Graph({"model": bard}, (Synapse("request", "model"),), {"request": request}, {"text": "model"}),
    }
