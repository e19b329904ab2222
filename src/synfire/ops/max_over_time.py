"""Highest-value readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import NUMBERS, require_steps
from synfire.ops.operator import Operator, State, as_value, operator, require_kind
from synfire.ops.signal import Array, Clock, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class MaxOverTime(Operator):
    """Y(t) = max_{s ≤ t} X(s), element by element; the last one is the answer. snnTorch's max-membrane readout.

    The state `top` starts at the lowest float32.
    """

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_steps("MaxOverTime", x)
        require_kind("MaxOverTime", x, *NUMBERS)
        return x.with_(kind=Kind.VALUE, clock=Clock.RUNNING)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"top": np.full((batch, *inputs[0].shape), np.finfo(np.float32).min)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        top = np.maximum(state["top"], as_value(inputs[0]))
        return {"top": top}, top
