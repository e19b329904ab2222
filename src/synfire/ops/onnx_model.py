"""A whole ONNX model as operators: one for each of its outputs. What it takes and gives is typed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from synfire.base.errors import UserError
from synfire.ops.operator import Operator, State, operator
from synfire.ops.signal import Array, Clock, Kind, Signal

_DIGEST = re.compile(r"[0-9a-f]{64}")

Tensor = tuple[str, str, Sequence[int]]
"""A tensor of the model: its name, its kind, and its shape as the file has it; −1 where that may differ."""


@operator
@dataclass(frozen=True, eq=False)
class OnnxModel(Operator):
    """yₒ = modelₒ(x₀ … xₙ): one output of an ONNX model, whole, as an engine of its own computes it.

    It takes the tensors `takes`, in their order, and gives the tensor `gives`. A file with several outputs is as many operators, which
    differ in `gives` alone: an engine computes those together. `weights` are its files by name, the model first, then those with its
    external data, each with the SHA-256 of its content; `weight_bytes` are this operator's share of them. `opset` are the sets of
    operators that it is written in, by their domains. Where it is `batched`, the first axis of all tensors counts samples, and is in
    no signal; else a request is one sample.
    """

    whole: ClassVar[bool] = True

    weights: tuple[tuple[str, str], ...]
    weight_bytes: int
    takes: tuple[Tensor, ...]
    gives: Tensor
    opset: tuple[tuple[str, int], ...]
    batched: bool = False

    def check(self) -> None:
        bad = [name for name, digest in self.weights if not _DIGEST.fullmatch(digest)]
        if not self.weights or bad:
            raise UserError(f"{self.kind}.weights: {bad or 'there are none'}; each is a file's name and its SHA-256")
        if not self.takes:
            raise UserError(f"{self.kind} takes no input, so every answer is the same; serve a model that takes one")
        for tensor in (*self.takes, self.gives):
            self._signal(tensor)

    @property
    def ports(self) -> int:
        return len(self.takes)

    @property
    def batches(self) -> bool:
        return self.batched

    @property
    def parameter_bytes(self) -> int:
        return self.weight_bytes

    def signals(self) -> tuple[Signal, ...]:
        """The signals that it takes, by port."""
        return tuple(map(self._signal, self.takes))

    def infer(self, *inputs: Signal) -> Signal:
        for tensor, got, wanted in zip(self.takes, inputs, self.signals(), strict=True):
            if got != wanted:
                raise UserError(f"{self.kind} takes {wanted} as {tensor[0]!r}, got {got}")
        return self._signal(self.gives)

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        raise UserError(f"{self.kind} has no steps of its own; an engine for ONNX files runs it, whole")

    def _signal(self, tensor: Tensor) -> Signal:
        name, kind, shape = tensor
        if kind not in set(Kind) or (self.batched and tuple(shape)[:1] != (-1,)):
            raise UserError(f"{self.kind}: tensor {name!r} cannot be of kind {kind!r} and shape {list(shape)}")
        return Signal(tuple(shape[self.batched :]), Kind(kind), Clock.REQUEST)
