"""Leaky integrate-and-fire in the discrete forms of the field's frameworks."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.membrane import Firing, Membrane, held, require_parameters_fit
from synfire.ops.operator import State, as_value, operator, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class DiscreteLIF(Membrane, Firing):
    """A leaky integrate-and-fire neuron whose every discrete choice is a named attribute.

    The charge is `Membrane`'s, firing and reset are `Firing`'s. With the right attributes it gives the bits of Norse's
    `LIFBoxCell` and `IAFCell` (relax; hard or soft), snnTorch's `Leaky` (decay; reset before, after or at the charge),
    sinabs' `LIF` and `IAF` (decay; several spikes a step, soft, floor) and SpikingJelly's `IFNode` (decay, rate 1).
    `synfire.formats.discretisation` holds the choices by framework. Output: spikes, or counts with `spikes="multi"`.
    """

    def check(self) -> None:
        self.check_membrane()
        self.check_firing()

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=self.spike_kind, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"v": held(self.v_start, batch, inputs[0])}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        h = self.charge(self.before_charge(state["v"]), as_value(inputs[0]))
        v, spikes = self.fire(state["v"], h)
        return {"v": v}, spikes
