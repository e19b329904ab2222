"""The engine for processors with weights of two bytes."""

from __future__ import annotations

from synfire.engines.cpu.engine import CpuEngine, compiled, tape
from synfire.engines.cpu.int8 import narrowed, narrowed_weights
from synfire.engines.engine import Program
from synfire.graph import Graph


class Bf16Engine(CpuEngine):
    """Synapses that read spikes keep their weights as bfloat16; all sums are float32, in the canonical order.

    So it has the bits of the exact engine for the model with these weights rounded, each by 1/256 of itself at most. What that does to
    a model's answers is measured when a profile is built. Synapses within a loop stay as they are.
    """

    name = "cpu-bf16"
    exact = False
    format = "bf16"

    def build(self, graph: Graph) -> Program:
        program: Program = compiled.CpuProgram(graph, narrow=tape.HALVES)
        return program

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        return "" if narrowed(graph) else "no synapse of it reads spikes, and only their weights become bfloat16"

    @classmethod
    def parameter_bytes(cls, graph: Graph) -> int:
        return super().parameter_bytes(graph) - 2 * narrowed_weights(graph)
