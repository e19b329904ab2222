"""One operator on the GPU: a table from operator class to the class that runs it, filled by this package's modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from synfire.engines.cuda import table
from synfire.engines.cuda.hardware import Hardware, Tensors
from synfire.ops import Operator, Signal, Stateless


class Step(ABC):
    """One operator, built: runs whole blocks of time steps.

    Tensors are `(steps, batch, ...)`, channels first; a value that stays the same has stride 0 along the steps. What a step
    needs of its operator's parameters lies on the GPU from the beginning: nothing is copied there while it runs.
    """

    on_host = False

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, here: Hardware) -> None:
        self.operator, self.inputs, self.output, self.here = operator, tuple(inputs), output, here
        self.prepare()

    def prepare(self) -> None:  # noqa: B027  (most steps hold nothing)
        """Lay the parameters out on the GPU."""

    @abstractmethod
    def run(self, state: Tensors, inputs: Sequence[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        """`(state, inputs) → (state, output)`, without changing either argument."""


B = TypeVar("B", bound=type[Step])
STEPS: dict[str, type[Step]] = {}


def step_for(*kinds: type[Operator]) -> Callable[[B], B]:
    """Class decorator: this step runs operators of these classes, which `table.KERNELS` names, too."""

    def add(cls: B) -> B:
        STEPS.update((kind.__name__, cls) for kind in kinds)
        return cls

    return add


def lower(operator: Operator, inputs: Sequence[Signal], output: Signal, here: Hardware) -> Step:
    """The step of an operator: its own, or its reference step on the host."""
    if not table.has_kernel(operator) or not table.shaped(*inputs, output):
        return HostStep(operator, inputs, output, here)
    table.load(operator)
    return STEPS[operator.kind](operator, inputs, output, here)


def constant(tensor: torch.Tensor) -> bool:
    """Whether a block repeats one value at every step."""
    return tensor.shape[0] > 1 and tensor.stride(0) == 0


def as_value(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as float32."""
    return tensor.to(torch.float32)


def as_summand(tensor: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """As int32 when it and `others` hold spikes or counts, else as float32."""
    whole = not any(each.is_floating_point() for each in (tensor, *others))
    return tensor.to(torch.int32 if whole else torch.float32)


class StatelessStep(Step):
    """An operator without memory: time is folded into the batch, and a value that stays the same is computed once."""

    def run(self, state: Tensors, inputs: Sequence[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        still = all(constant(each) for each in inputs)
        folded = [(each[:1] if still else each).flatten(0, 1) for each in inputs]
        output = self.apply(*folded)
        output = output.reshape(1 if still else steps, inputs[0].shape[1], *output.shape[1:])
        return {}, output.expand(steps, *output.shape[1:])

    @abstractmethod
    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The output for `(steps · batch, ...)`."""


class HostStep(Step):
    """The operator's reference step, on the host: its inputs come down, its output goes up again."""

    on_host = True

    def run(self, state: Tensors, inputs: Sequence[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        arrays = self.here.download({str(port): each for port, each in enumerate(inputs)} | state)
        remembered = {name: arrays[name] for name in state}
        blocks = [arrays[str(port)] for port in range(len(inputs))]
        if isinstance(self.operator, Stateless):
            _, found = self.operator.step({}, *(each.reshape(-1, *each.shape[2:]) for each in blocks))
            emitted = found.reshape(*blocks[0].shape[:2], *found.shape[1:])
        else:
            outputs = []
            for t in range(steps):
                remembered, output = self.operator.step(remembered, *(each[t] for each in blocks))
                outputs.append(output)
            emitted = np.stack(outputs)
        there = self.here.upload(remembered | {"": emitted})
        return {name: there[name] for name in remembered}, there[""]
