"""Steps of neurons: all time steps of a layer in one kernel call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import kernels
from synfire.engines.cpu.step import LAST, Step, constant, dense, kernel_for
from synfire.ops import Array, Operator, Signal, State
from synfire.ops.lif import HARD, LIF


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
            dense(np.ascontiguousarray(block)).astype(np.float32, copy=False).reshape(-1, batch, v.shape[1]), v, out
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
