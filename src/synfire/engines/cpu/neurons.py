"""Steps of neurons: all time steps of a layer in one kernel call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import kernels
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
        after = {name: array.reshape(batch, -1).copy() for name, array in state.items()}
        out = np.empty((steps, batch, int(np.prod(shape))), np.uint8)
        block = dense(x[:1] if constant(x) else x).astype(np.float32, copy=False)
        self.fire(block.reshape(-1, batch, out.shape[2]), after, out)
        return {name: array.reshape(batch, *shape) for name, array in after.items()}, out.reshape(steps, batch, *shape)

    @abstractmethod
    def fire(self, x: Array, state: State, out: Array) -> None:
        """Fill `out` `(steps, batch, neuron)` and advance `state` for the input `(steps or 1, batch, neuron)`."""


class IntegratorStep(NeuronStep):
    """What LIF, IF and their like share: one membrane, a threshold and a reset."""

    def __init__(
        self, operator: IF | LIF | ParametricLIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]
    ) -> None:
        super().__init__(operator, inputs, output, layouts)
        thresholds = self.per_neuron(operator.threshold), self.per_neuron(operator.v_reset)
        self._firing = (*thresholds, operator.reset == HARD, operator.strict)


@kernel_for(IF)
class IFStep(IntegratorStep):
    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.integrate_and_fire(x, state["v"], *self._firing, out)


@kernel_for(LIF)
class LIFStep(IntegratorStep):
    def __init__(self, operator: LIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._charging = self.per_neuron(operator.tau), operator.decay_input

    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.lif(x, state["v"], *self._firing, *self._charging, out)


@kernel_for(ParametricLIF)
class ParametricLIFStep(IntegratorStep):
    def __init__(
        self, operator: ParametricLIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]
    ) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._charging = self.per_neuron(operator.inv_tau), operator.decay_input

    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.parametric_lif(x, state["v"], *self._firing, *self._charging, out)


@kernel_for(ALIF)
class ALIFStep(NeuronStep):
    def __init__(self, operator: ALIF, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        wanted = (operator.alpha, operator.rho, operator.b0, operator.beta)
        self._parameters = [self.per_neuron(each) for each in wanted]
        self._strict = operator.strict

    def fire(self, x: Array, state: State, out: Array) -> None:
        kernels.alif(x, state["u"], state["b"], state["s"], *self._parameters, self._strict, out)
