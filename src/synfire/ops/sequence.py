"""One row per time step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_fixed, require_request
from synfire.ops.operator import Encoder, State, operator
from synfire.ops.signal import Array, Clock, Signal


@operator
@dataclass(frozen=True, eq=False)
class Sequence(Encoder):
    """Y(t) = X[t]: a request that brings its own time axis, `(steps, *features)`, is read row by row.

    For event frames, log-mel frames, or an image shown line by line. The state `step` is the sample's own t, counted
    modulo `steps`, so a session's next request starts at its row 0.
    """

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("Sequence", x)
        require_fixed("Sequence", x)
        if not x.shape or x.shape[0] != self.steps:
            raise UserError(f"Sequence reads {self.steps} rows, got {x}; its first axis must be the time steps")
        return x.with_(shape=x.shape[1:], clock=Clock.STEP)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"step": np.zeros(batch, np.int64)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        (x,), step = inputs, state["step"]
        return {"step": (step + 1) % self.steps}, x[np.arange(len(x)), step]
