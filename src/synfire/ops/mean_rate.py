"""Rate readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.operator import Operator, State, as_value, operator
from synfire.ops.signal import Array, Clock, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class MeanRate(Operator):
    """Y(t) = (Σ_{s ≤ t} X(s)) / t: the mean over the steps seen so far; the last one is the answer."""

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0].with_(kind=Kind.VALUE, clock=Clock.RUNNING)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"sum": np.zeros((batch, *inputs[0].shape), np.float32), "steps": np.zeros(batch, np.int64)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        total, steps = state["sum"] + as_value(inputs[0]), state["steps"] + 1
        divisor = steps.astype(np.float32).reshape(-1, *(1,) * (total.ndim - 1))
        return {"sum": total, "steps": steps}, total / divisor
