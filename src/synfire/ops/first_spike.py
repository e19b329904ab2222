"""First-spike readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import require_steps
from synfire.ops.operator import Operator, State, operator, require_kind
from synfire.ops.signal import Array, Clock, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class FirstSpike(Operator):
    """Y(t) = min {s ≤ t : X(s) ≠ 0}, or t + 1 where no spike has come yet; the last one is the answer.

    So after T steps a silent element reads T, later than every real spike, and the smallest Y fired first. The state is
    `first` `(batch, *shape)`, equal to `steps` `(batch,)`, the steps seen, for elements still silent.
    """

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_steps("FirstSpike", x)
        require_kind("FirstSpike", x, Kind.SPIKE, Kind.COUNT)
        return x.with_(kind=Kind.INDEX, clock=Clock.RUNNING)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"first": np.zeros((batch, *inputs[0].shape), np.int64), "steps": np.zeros(batch, np.int64)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        (x,), steps = inputs, state["steps"]
        now = steps.reshape(-1, *(1,) * (x.ndim - 1))
        silent = (state["first"] == now) & (x == 0)
        first = np.where(silent, now + 1, state["first"])
        return {"first": first, "steps": steps + 1}, first
