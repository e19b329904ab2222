"""Integrate-and-fire."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.membrane import HARD, SOFT, after_spike, f32, fired, held, require_choice, require_parameters_fit
from synfire.ops.operator import Operator, State, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class IF(Operator):
    """An integrate-and-fire neuron, one per input element: H = V + X.

    Fire: S = [H ≥ threshold], or [H > threshold] when `strict`. Reset: hard V = v_reset where S, soft V = H − threshold·S.
    `V` starts at `v_reset` (hard) or 0 (soft). SpikingJelly's `IFNode` (doi:10.1126/sciadv.adi1480), to the bit.
    """

    threshold: Array | float = 1.0
    v_reset: Array | float = 0.0
    reset: str = HARD
    strict: bool = False

    def check(self) -> None:
        require_choice(self.kind, "reset", self.reset, HARD, SOFT)

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=Kind.SPIKE, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"v": held(0.0 if self.reset == SOFT else self.v_reset, batch, inputs[0])}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        h, threshold = state["v"] + as_value(inputs[0]), f32(self.threshold)
        spikes = fired(h, threshold, self.strict)
        v = after_spike(self.reset, spikes, h, threshold, f32(self.v_reset))
        return {"v": v}, spikes.astype("uint8")
