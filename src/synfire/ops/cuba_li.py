"""Current-based leaky integrator."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.current_based import CurrentBased
from synfire.ops.membrane import held, require_parameters_fit
from synfire.ops.operator import State, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class CubaLI(CurrentBased):
    """Y(t) = V(t) of a current-driven membrane: `CubaLIF` without the threshold. NIR's CubaLI; Norse's `LICell` ("jump")."""

    def check(self) -> None:
        self.check_membrane()
        self.check_current()

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=Kind.VALUE, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"v": held(self.v_start, batch, inputs[0]), "i": held(self.current_leak, batch, inputs[0])}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        current, v = self.advance(state["i"], state["v"], as_value(inputs[0]))
        return {"v": v, "i": current}, v
