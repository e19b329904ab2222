"""Current-based leaky integrate-and-fire."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.current_based import CurrentBased
from synfire.ops.membrane import Firing, held, require_parameters_fit
from synfire.ops.operator import State, as_value, operator, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class CubaLIF(CurrentBased, Firing):
    """A synaptic current drives a membrane that fires: τ_syn·İ = −I + w_in·X;  τ_mem·V̇ = (v_leak − V) + R·I.

    The discrete step is `CurrentBased`'s, firing and reset are `Firing`'s. With the right attributes it gives the bits of
    Norse's NIR import and of its `LIFCell` (order "jump"), snnTorch's `Synaptic`, SpikingJelly's `CUBALIFNode` and
    sinabs' `LIF` with `tau_syn`. Source: NIR 1.0, doi:10.1038/s41467-024-52259-9.
    """

    def check(self) -> None:
        self.check_membrane()
        self.check_current()
        self.check_firing()

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=self.spike_kind, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"v": held(self.v_start, batch, inputs[0]), "i": held(self.current_leak, batch, inputs[0])}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        current, h = self.advance(state["i"], self.before_charge(state["v"]), as_value(inputs[0]))
        v, spikes = self.fire(state["v"], h)
        return {"v": v, "i": current}, spikes
