"""Direct encoding: the value itself, at every step."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.operator import Encoder, State, operator
from synfire.ops.signal import Array, Clock, Signal


@operator
@dataclass(frozen=True, eq=False)
class ConstantCurrent(Encoder):
    """X(t) = x for `steps` steps: the first synaptic layer receives the analogue value as a current."""

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0].with_(clock=Clock.STEP)

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return {}, inputs[0]
