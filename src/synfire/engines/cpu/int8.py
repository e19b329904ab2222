"""The engine for processors with weights of one byte."""

from __future__ import annotations

from synfire.engines.cpu.engine import CpuEngine, compiled, tape
from synfire.engines.engine import Program
from synfire.graph import Graph, strong_components
from synfire.ops import Kind
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear


def narrowed(graph: Graph) -> tuple[str, ...]:
    """The synapses whose weights are kept in less than a float32: those that read spikes, but for what is in a loop."""
    groups = strong_components({name: [s.source for s in graph.arriving(name)] for name in graph.operators})
    loops = {name for members in groups if len(members) > 1 for name in members}
    synapses = (name for name in graph if isinstance(graph.operator(name), (Conv1d, Conv2d, Linear)))
    return tuple(name for name in synapses if name not in loops and graph.signals_into(name)[0].kind is Kind.SPIKE)


def narrowed_weights(graph: Graph) -> int:
    """How many weights these synapses have."""
    return sum(graph.operator(name).parameters()["weight"].size for name in narrowed(graph))


class Int8Engine(CpuEngine):
    """Synapses that read spikes have whole numbers up to 127 for weights, with a scale for each output; all else is float32.

    It is not exact: a weight is off by up to 1/254 of its output's largest. What that does to a model's answers is
    measured when a profile is built. Synapses within a loop stay as they are.
    """

    name = "cpu-int8"
    exact = False
    format = "int8"

    def build(self, graph: Graph) -> Program:
        program: Program = compiled.CpuProgram(graph, narrow=tape.BYTES)
        return program

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        return "" if narrowed(graph) else "no synapse of it reads spikes, and only their weights become bytes"

    @classmethod
    def parameter_bytes(cls, graph: Graph) -> int:
        return super().parameter_bytes(graph) - 3 * narrowed_weights(graph)
