"""What whole models with named, typed tensors have in common: each of their outputs is an operator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from synfire.base.errors import UserError
from synfire.ops.operator import Operator, State
from synfire.ops.signal import Array, Clock, Kind, Signal

_DIGEST = re.compile(r"[0-9a-f]{64}")

Tensor = tuple[str, str, Sequence[int]]
"""What a model takes or gives: its name, its kind, and its shape; −1 where that may differ."""


class TensorModel(Operator):
    """yₒ = modelₒ(x₀ … xₙ): one output of a whole model, which an engine of its own computes.

    It takes the tensors `takes`, in their order, and gives the tensor `gives`. A model with several outputs is as many operators, which
    differ in `gives` alone: an engine computes those together. Where it is `batched`, the first axis of all tensors counts samples, and
    is in no signal; else a request is one sample.
    """

    whole: ClassVar[bool] = True
    engine: ClassVar[str]
    """Who computes it, in words."""

    takes: tuple[Tensor, ...]
    gives: Tensor
    batched: bool

    def check_tensors(self, without: str) -> None:
        """Raise `UserError` for tensors that cannot be signals, and for a model that takes none; `without` says what to do then."""
        if not self.takes:
            raise UserError(f"{self.kind} takes no input, {without}")
        for tensor in (*self.takes, self.gives):
            self._signal(tensor)

    def check_files(self, field: str, files: Sequence[tuple[str, str]]) -> None:
        """Raise `UserError` where there is no file in a `field`, or one without the SHA-256 of its content."""
        bad = [name for name, digest in files if not _DIGEST.fullmatch(digest)]
        if not files or bad:
            raise UserError(f"{self.kind}.{field}: {bad or 'there are none'}; each is a file's name and its SHA-256")

    @property
    def ports(self) -> int:
        return len(self.takes)

    @property
    def batches(self) -> bool:
        return self.batched

    def signals(self) -> tuple[Signal, ...]:
        """The signals that it takes, by port."""
        return tuple(map(self._signal, self.takes))

    def infer(self, *inputs: Signal) -> Signal:
        for tensor, got, wanted in zip(self.takes, inputs, self.signals(), strict=True):
            if got != wanted:
                raise UserError(f"{self.kind} takes {wanted} as {tensor[0]!r}, got {got}")
        return self._signal(self.gives)

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        raise UserError(f"{self.kind} has no steps of its own; {self.engine} runs it, whole")

    def _signal(self, tensor: Tensor) -> Signal:
        name, kind, shape = tensor
        if kind not in set(Kind) or (self.batched and tuple(shape)[:1] != (-1,)):
            raise UserError(f"{self.kind}: {name!r} cannot be of kind {kind!r} and shape {list(shape)}")
        return Signal(tuple(shape[self.batched :]), Kind(kind), Clock.REQUEST)
