"""Which kernel runs an operator: a table from operator class to a builder, one entry each.

An operator without an entry runs its reference step, over all time steps at once when it has no state. So every
operator works here on the day it is written, and gets faster on the day that it gets an entry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from synfire.engines.cpu import kernels
from synfire.ops import Array, Kind, Operator, Signal, State, Stateless
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import HARD, LIF
from synfire.ops.linear import Linear

FIRST, LAST = "channels first", "channels last"
"""Where the channel axis of a value with spatial axes is kept. Signals are channels first, kernels like it last."""


class Step(ABC):
    """One operator, built: runs whole blocks of time steps.

    `layouts` are the layouts in which it wants its inputs, `layout` that of its output. Arrays are `(steps, batch, ...)`;
    a value that stays the same may come as a view with stride 0 along the steps.
    """

    layout = FIRST

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        self.operator, self.inputs, self.output = operator, tuple(inputs), output
        self.layouts: tuple[str, ...] = tuple(layouts)

    def initial_state(self, batch: int) -> State:
        return self.operator.initial_state(batch, *self.inputs)

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


def lower(operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> Step:
    """The step of an operator whose inputs are at hand in `layouts`."""
    chosen = STEPS.get(type(operator))
    if chosen is None:
        chosen = StatelessStep if isinstance(operator, Stateless) else ReferenceStep
    return chosen(operator, inputs, output, layouts)


def constant(array: Array) -> bool:
    """Whether a block repeats one value at every step."""
    return bool(array.shape[0] > 1 and array.strides[0] == 0)


def relayout(array: Array, signal: Signal, have: str, want: str) -> Array:
    """The same block with its channel axis moved; only signals of two dimensions or more know a difference."""
    if have == want or len(signal.shape) < 2:
        return array
    moved = np.moveaxis(array, 2, -1) if want == LAST else np.moveaxis(array, -1, 2)
    if constant(array):
        return np.broadcast_to(np.ascontiguousarray(moved[:1]), moved.shape)
    return np.ascontiguousarray(moved)


class ReferenceStep(Step):
    """The operator's own reference step, one time step after the other."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, [FIRST] * len(inputs))

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        emitted: list[Array] = []
        for t in range(steps):
            state, output = self.operator.step(state, *(each[t] for each in inputs))
            emitted.append(output)
        return state, np.stack(emitted)


class StatelessStep(Step):
    """An operator without memory: time is folded into the batch, and a value that stays the same is computed once."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, [FIRST] * len(inputs))

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        still = all(constant(each) for each in inputs)
        folded = [(each[:1] if still else each) for each in inputs]
        output = self.apply(*(each.reshape(-1, *each.shape[2:]) for each in folded))
        output = output.reshape(-1, inputs[0].shape[1], *output.shape[1:])
        return {}, np.broadcast_to(output, (steps, *output.shape[1:])) if still else output

    def apply(self, *inputs: Array) -> Array:
        """The output for `(steps · batch, ...)`."""
        return self.operator.step({}, *inputs)[1]


class ElementwiseStep(StatelessStep):
    """Works on any layout, as long as all inputs share it."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        same = len({signal.shape for signal in inputs}) == 1
        self.layout = LAST if LAST in layouts and same else FIRST
        self.layouts = (self.layout,) * len(inputs)


@kernel_for(ConstantCurrent)
class ConstantCurrentStep(Step):
    """Repeats without copying."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layout = layouts[0]

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        return {}, inputs[0]


@kernel_for(Linear)
class LinearStep(StatelessStep):
    """Rows of the transposed weight, added for each active input."""

    def __init__(self, operator: Linear, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._weight = np.ascontiguousarray(operator.weight.T)
        self._bias = operator.bias + np.float32(0)
        self._run = kernels.linear_spikes if inputs[0].kind is Kind.SPIKE else kernels.linear_values

    def apply(self, *inputs: Array) -> Array:
        (x,) = inputs
        out = np.empty((*x.shape[:-1], self._bias.size), np.float32)
        rows = np.ascontiguousarray(_dense(x).reshape(-1, x.shape[-1]))
        self._run(rows, self._weight, self._bias, out.reshape(-1, self._bias.size))
        return out


@kernel_for(Conv2d)
class Conv2dStep(StatelessStep):
    """Channels last; groups run one after the other."""

    layout = LAST

    def __init__(self, operator: Conv2d, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layouts = (LAST,)
        self._groups = operator.groups
        self._shape = (*output.shape[1:], output.shape[0])
        weights = np.split(operator.weight, operator.groups)
        self._weights = [np.ascontiguousarray(weight.transpose(2, 3, 1, 0)) for weight in weights]
        self._biases = np.split(operator.bias + np.float32(0), operator.groups)
        top, _, left, _ = operator.padding
        self._geometry = np.array([*operator.stride, top, left, *operator.dilation], np.int64)
        self._run = kernels.conv2d_spikes if inputs[0].kind is Kind.SPIKE else kernels.conv2d_values

    def apply(self, *inputs: Array) -> Array:
        x = np.ascontiguousarray(_dense(inputs[0]))
        if self._groups == 1:
            return self._convolve(x, 0)
        parts = np.split(x, self._groups, axis=-1)
        return np.concatenate([self._convolve(np.ascontiguousarray(p), g) for g, p in enumerate(parts)], axis=-1)

    def _convolve(self, x: Array, group: int) -> Array:
        out = np.empty((x.shape[0], *self._shape[:2], self._biases[group].size), np.float32)
        self._run(x, self._weights[group], self._biases[group], self._geometry, out)
        return out


class NeuronStep(Step):
    """One state variable `v` per neuron, any layout; parameters are scalars or one per neuron."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layout = layouts[0]

    def per_neuron(self, value: Array | float) -> Array:
        """A parameter as `(1,)` or `(neuron,)` in this step's layout."""
        array = np.asarray(value, np.float32)
        if array.size == 1:
            return array.reshape(1)
        return self._lay(np.broadcast_to(array, self.inputs[0].shape)).reshape(-1)

    def initial_state(self, batch: int) -> State:
        fresh = self.operator.initial_state(batch, *self.inputs)
        return {name: np.stack([self._lay(row) for row in array]) for name, array in fresh.items()}

    def _lay(self, sample: Array) -> Array:
        last = self.layout == LAST and sample.ndim >= 2
        return np.ascontiguousarray(np.moveaxis(sample, 0, -1) if last else sample)

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        (x,) = inputs
        batch, shape = x.shape[1], x.shape[2:]
        v = state["v"].reshape(batch, -1).copy()
        out = np.empty((steps, batch, v.shape[1]), np.uint8)
        block = x[:1] if constant(x) else x
        self.fire(
            _dense(np.ascontiguousarray(block)).astype(np.float32, copy=False).reshape(-1, batch, v.shape[1]), v, out
        )
        return {"v": v.reshape(batch, *shape)}, out.reshape(steps, batch, *shape)

    @abstractmethod
    def fire(self, x: Array, v: Array, out: Array) -> None:
        """Fill `out` `(steps, batch, neuron)` and advance `v` for the input `(steps or 1, batch, neuron)`."""


@kernel_for(LIF)
class LIFStep(NeuronStep):
    def __init__(self, operator: LIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._parameters = [self.per_neuron(each) for each in (operator.tau, operator.threshold, operator.v_reset)]
        self._flags = (operator.decay_input, operator.reset == HARD, operator.strict)

    def fire(self, x: Array, v: Array, out: Array) -> None:
        kernels.lif(x, v, *self._parameters, *self._flags, out)


def _dense(array: Array) -> Array:
    """Counts as float32; spikes and values as they are."""
    return array.astype(np.float32) if array.dtype not in (np.uint8, np.float32) else array
