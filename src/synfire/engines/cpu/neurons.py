"""Steps of neurons: all time steps of a layer in one kernel call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import neuron_kernels as kernels
from synfire.engines.cpu.step import LAST, Step, constant, dense, kernel_for
from synfire.ops import Array, Operator, Signal, State
from synfire.ops.alif import ALIF
from synfire.ops.if_neuron import IF
from synfire.ops.lif import LIF
from synfire.ops.membrane import HARD
from synfire.ops.parametric_lif import ParametricLIF


class NeuronStep(Step):
    """A layer of neurons in any layout; parameters are scalars or one per neuron."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layout = layouts[0]

    def per_neuron(self, *values: Array | float) -> tuple[Array, ...]:
        """Parameters in this step's layout: all as `(1,)` if every one is a number, else all as `(neuron,)`."""
        arrays = [np.asarray(value, np.float32) for value in values]
        if all(array.size == 1 for array in arrays):
            return tuple(array.reshape(1) for array in arrays)
        return self.spread(*arrays)

    def spread(self, *values: Array | float) -> tuple[Array, ...]:
        """Parameters as `(neuron,)` in this step's layout."""
        shape = self.inputs[0].shape
        return tuple(self._lay(np.broadcast_to(np.asarray(each, np.float32), shape)).reshape(-1) for each in values)

    def initial_state(self, batch: int) -> State:
        fresh = self.operator.initial_state(batch, *self.inputs)
        return {name: np.stack([self._lay(row) for row in array]) for name, array in fresh.items()}

    def _lay(self, sample: Array) -> Array:
        last = self.layout == LAST and sample.ndim >= 2
        return np.ascontiguousarray(np.moveaxis(sample, 0, -1) if last else sample)

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        (x,) = inputs
        batch, shape = x.shape[1], x.shape[2:]
        after = {name: array.reshape(batch, -1).copy() for name, array in state.items()}
        out = np.empty((steps, batch, int(np.prod(shape))), np.uint8)
        block = dense(x[:1] if constant(x) else x).astype(np.float32, copy=False)
        self.fire(block.reshape(-1, batch, out.shape[2]), after, out)
        return {name: array.reshape(batch, *shape) for name, array in after.items()}, out.reshape(steps, batch, *shape)

    @abstractmethod
    def fire(self, x: Array, state: State, out: Array) -> None:
        """Fill `out` `(steps, batch, neuron)` and advance `state` for the input `(steps or 1, batch, neuron)`."""


class LoopStep(NeuronStep):
    """A layer that can also be run together with the linear synapse by which its spikes return."""

    @abstractmethod
    def fire_loop(self, x: Array, fed_back: Array, weight: Array, bias: Array, state: State, out: Array) -> None:
        """As `fire`, with `fed_back` `(batch, neuron)` added to the first step's input, and advanced."""


class IntegratorStep(NeuronStep):
    """What LIF, IF and their like share: one membrane, a threshold and a reset."""

    def __init__(
        self, operator: IF | LIF | ParametricLIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]
    ) -> None:
        super().__init__(operator, inputs, output, layouts)
        threshold, v_reset, *self._charging = self.per_neuron(operator.threshold, operator.v_reset, *self.rates())
        self._firing = (threshold, v_reset, operator.reset == HARD, operator.strict)

    def rates(self) -> tuple[Array | float, ...]:
        """The parameters of the charge."""
        return ()


@kernel_for(IF)
class IFStep(IntegratorStep):
    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.integrate_and_fire(x, state["v"], *self._firing, out)


@kernel_for(LIF)
class LIFStep(IntegratorStep, LoopStep):
    operator: LIF

    def rates(self) -> tuple[Array | float, ...]:
        return (self.operator.tau,)

    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.lif(x, state["v"], *self._firing, *self._charging, self.operator.decay_input, out)

    def fire_loop(self, x: Array, fed_back: Array, weight: Array, bias: Array, state: State, out: Array) -> None:
        kernels.lif_loop(
            x, fed_back, weight, bias, state["v"], *self._firing, *self._charging, self.operator.decay_input, out
        )


@kernel_for(ParametricLIF)
class ParametricLIFStep(IntegratorStep, LoopStep):
    operator: ParametricLIF

    def rates(self) -> tuple[Array | float, ...]:
        return (self.operator.inv_tau,)

    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.parametric_lif(x, state["v"], *self._firing, *self._charging, self.operator.decay_input, out)

    def fire_loop(self, x: Array, fed_back: Array, weight: Array, bias: Array, state: State, out: Array) -> None:
        kernels.parametric_lif_loop(
            x, fed_back, weight, bias, state["v"], *self._firing, *self._charging, self.operator.decay_input, out
        )


@kernel_for(ALIF)
class ALIFStep(LoopStep):
    def __init__(self, operator: ALIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._parameters = self.spread(operator.alpha, operator.rho, operator.b0, operator.beta)
        self._strict = operator.strict

    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.alif(x, state["u"], state["b"], state["s"], *self._parameters, self._strict, out)

    def fire_loop(self, x: Array, fed_back: Array, weight: Array, bias: Array, state: State, out: Array) -> None:
        memory = state["u"], state["b"], state["s"]
        kernels.alif_loop(x, fed_back, weight, bias, *memory, *self._parameters, self._strict, out)
