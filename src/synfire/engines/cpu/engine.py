"""The spiking engine for processors."""

from __future__ import annotations

from synfire.base.later import Later
from synfire.engines.engine import Engine, Program
from synfire.graph import Graph

compiled, tape = Later("synfire.engines.cpu.program"), Later("synfire.engines.cpu.tape")
"""What it builds programs by. That loads the compiler, and who only plans does without."""


class CpuEngine(Engine):
    """Exact float32: the same bits as the reference engine, at the speed of compiled kernels.

    A program uses the `threads` that it is granted, its caller's among them, and gives the same bits with any number.
    """

    name = "cpu"
    version = 2

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def build(self, graph: Graph) -> Program:
        program: Program = compiled.CpuProgram(graph, threads=self._threads)
        return program
