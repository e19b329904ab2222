"""Spike-count readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import require_steps
from synfire.ops.operator import Operator, State, operator, require_kind
from synfire.ops.signal import Array, Clock, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class SpikeCount(Operator):
    """Y(t) = Σ_{s ≤ t} X(s): how many spikes each element has emitted so far; the last one is the answer."""

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_steps("SpikeCount", x)
        require_kind("SpikeCount", x, Kind.SPIKE, Kind.COUNT)
        return x.with_(kind=Kind.COUNT, clock=Clock.RUNNING)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"count": np.zeros((batch, *inputs[0].shape), np.int32)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        count = state["count"] + inputs[0].astype(np.int32)
        return {"count": count}, count
