"""A membrane without a threshold."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.membrane import Membrane, held, require_parameters_fit
from synfire.ops.operator import State, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class LeakyIntegrator(Membrane):
    """Y(t) = V(t): the membrane itself, as `Membrane` charges it; nothing fires.

    NIR's LI (τ·V̇ = (v_leak − V) + R·I); with `integration="decay"` and `rate=1` its integrator I (V̇ = R·I).
    """

    def check(self) -> None:
        self.check_membrane()

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=Kind.VALUE, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"v": held(self.v_start, batch, inputs[0])}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        v = self.charge(state["v"], as_value(inputs[0]))
        return {"v": v}, v
