"""A Python function as operators: one for each of its outputs. What it takes and gives is typed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.operator import operator
from synfire.ops.tensor_model import Tensor, TensorModel


@operator
@dataclass(frozen=True, eq=False)
class PythonFunction(TensorModel):
    """yₒ = fₒ(x₀ … xₙ): one output of a function of the user's own, which a process of its own computes.

    `files` are what it is made of, by name, the one that declares it first, each with the SHA-256 of its content; they lie in `folder`,
    as does what it reads there, so that a copy elsewhere is another operator. A request is one call, and may be made more than once
    where a worker dies.

    A file that has Triton's class instead of a function has in `triton` what that is told when it is loaded, as JSON. One that waits for
    others (`async def`) is `overlapping`: many of its calls are under way at a time.
    """

    engine: ClassVar[str] = "the engine python"

    function: str
    folder: str
    files: tuple[tuple[str, str], ...]
    takes: tuple[Tensor, ...]
    gives: Tensor
    triton: str = ""
    batched: bool = False
    overlapping: bool = False

    def check(self) -> None:
        self.check_files("files", self.files)
        self.check_tensors("so there is nothing to ask it; give the function a parameter")
