"""Operators that no chain holds run by themselves: a table from operator class to the class that runs it, one entry each.

An operator without an entry runs its reference step, over all time steps at once when it has no state. So every
operator works here on the day it is written, and gets faster on the day that it gets an entry, or lines of its own
(`synfire.engines.cpu.lines`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from synfire.ops import Array, Operator, Signal, State, Stateless


class Step(ABC):
    """One operator, built: runs whole blocks of time steps.

    Arrays are `(steps, batch, ...)`; a value that stays the same may come as a view with stride 0 along the steps.
    """

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal) -> None:
        self.operator, self.inputs, self.output = operator, tuple(inputs), output

    def initial_state(self, batch: int) -> State:
        return self.operator.initial_state(batch, *self.inputs)

    def warm(self) -> None:  # noqa: B027  (most steps have nothing compiled of their own)
        """Compile or load what the first run would otherwise wait for."""

    @abstractmethod
    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        """`(state, inputs) → (state, output)`, without changing either argument."""


B = TypeVar("B", bound=type[Step])
STEPS: dict[type[Operator], type[Step]] = {}


def kernel_for(kind: type[Operator]) -> Callable[[B], B]:
    """Class decorator: this step runs operators of class `kind`."""

    def add(cls: B) -> B:
        STEPS[kind] = cls
        return cls

    return add


def lower(operator: Operator, inputs: Sequence[Signal], output: Signal) -> Step:
    """The step of an operator."""
    chosen = STEPS.get(type(operator))
    if chosen is None:
        chosen = StatelessStep if isinstance(operator, Stateless) else ReferenceStep
    return chosen(operator, inputs, output)


def constant(array: Array) -> bool:
    """Whether a block repeats one value at every step."""
    return bool(array.shape[0] > 1 and array.strides[0] == 0)


class ReferenceStep(Step):
    """The operator's own reference step, one time step after the other."""

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        emitted: list[Array] = []
        for t in range(steps):
            state, output = self.operator.step(state, *(each[t] for each in inputs))
            emitted.append(output)
        return state, np.stack(emitted)


class StatelessStep(Step):
    """An operator without memory: time is folded into the batch, and a value that stays the same is computed once."""

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        still = all(constant(each) for each in inputs)
        folded = [(each[:1] if still else each) for each in inputs]
        frames, batch = folded[0].shape[:2]
        output = self.apply(*(each.reshape(frames * batch, *each.shape[2:]) for each in folded))
        output = output.reshape(frames, batch, *output.shape[1:])
        return {}, np.broadcast_to(output, (steps, *output.shape[1:])) if still else output

    def apply(self, *inputs: Array) -> Array:
        """The output for `(steps · batch, ...)`."""
        return self.operator.step({}, *inputs)[1]
