"""A whole ONNX model as operators: one for each of its outputs. What it takes and gives is typed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.operator import operator
from synfire.ops.tensor_model import Tensor, TensorModel


@operator
@dataclass(frozen=True, eq=False)
class OnnxModel(TensorModel):
    """yₒ = modelₒ(x₀ … xₙ): one output of an ONNX model, whole.

    `weights` are its files by name, the model first, then those with its external data, each with the SHA-256 of its content;
    `weight_bytes` are this operator's share of them. `opset` are the sets of operators that it is written in, by their domains. Shapes
    are those of the file.
    """

    engine: ClassVar[str] = "an engine for ONNX files"

    weights: tuple[tuple[str, str], ...]
    weight_bytes: int
    takes: tuple[Tensor, ...]
    gives: Tensor
    opset: tuple[tuple[str, int], ...]
    batched: bool = False

    def check(self) -> None:
        self.check_files("weights", self.weights)
        self.check_tensors("so every answer is the same; serve a model that takes one")

    @property
    def parameter_bytes(self) -> int:
        return self.weight_bytes

    @property
    def file_digests(self) -> tuple[str, ...]:
        return tuple(digest for _, digest in self.weights)
