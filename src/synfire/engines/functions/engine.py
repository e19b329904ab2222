"""The engine `python`: functions of the user's own, each in a process beside its worker.

What a function does is nobody's to foresee: it may crash, hang, leave, print, or eat memory. In a process of its own it does that to itself: the
worker begins it anew, and goes on. The price is a hop within the machine, a small fraction of what a request takes.
"""

from __future__ import annotations

from synfire.base.errors import UserError
from synfire.engines.engine import ENGINES, Program
from synfire.engines.functions.program import FunctionProgram
from synfire.engines.language.environment import Environment
from synfire.engines.streaming import WholeEngine
from synfire.functions.describing import VARIABLE
from synfire.graph import Graph
from synfire.ops.python_function import PythonFunction

ENVIRONMENT = Environment(VARIABLE, ("numpy",), "pip install numpy there")
PYTHON_BYTES = 60_000_000
"""What Python and numpy take by themselves. What the function takes beside it shows when it runs."""


class FunctionEngine(WholeEngine):
    """Python functions, whole, on the processor."""

    name = "python"
    format = "python"

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        functions = _functions(graph)
        if len(functions) != len(graph.operators) or len({_call(each) for each in functions.values()}) != 1:
            return "it runs one Python function, and nothing else"
        return ENVIRONMENT.refusal()

    @classmethod
    def whole_bytes(cls, graph: Graph) -> int:
        return PYTHON_BYTES

    def build(self, graph: Graph) -> Program:
        """The program of a function's graph. Raises `UserError` for any other graph, and where numpy is missing."""
        refusal = self.refusal(graph)
        if refusal:
            raise UserError(f"engine {self.name} cannot run this stage: {refusal}")
        return FunctionProgram(graph, _functions(graph))


def _functions(graph: Graph) -> dict[str, PythonFunction]:
    return {name: each for name, each in graph.operators.items() if isinstance(each, PythonFunction)}


def _call(function: PythonFunction) -> object:
    """What the outputs of one function have in common."""
    return function.folder, function.function, function.files, tuple((*each[:2], *each[2]) for each in function.takes)


ENGINES.add(FunctionEngine.name, FunctionEngine)
