"""Time-to-first-spike encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_fixed, require_request
from synfire.ops.operator import Encoder, State, as_value, operator, require_kind
from synfire.ops.signal import Array, Clock, Kind, Signal

LINEAR, LOG = "linear", "log"


@operator
@dataclass(frozen=True, eq=False)
class Latency(Encoder):
    """One spike per element, the earlier the larger X, which is clamped to [0, 1]; T is `steps`::

        linear   t_f = round((T − 1) · (1 − X))
        log      t_f = round((T − 1) − ln(α·X + 1)),  α = e^(T−1) − 1

    S(t) = [t = t_f]; halves round to even. In float32, as SpikingJelly's LatencyEncoder. The state `step` counts modulo T.
    """

    curve: str = LINEAR

    def check(self) -> None:
        super().check()
        if self.curve not in (LINEAR, LOG):
            raise UserError(f"Latency.curve is {self.curve!r}; choose 'linear' or 'log'")
        if self.curve == LOG and self.steps > 89:
            raise UserError(
                f"Latency with curve 'log' overflows float32 at steps={self.steps}; use at most 89, or 'linear'"
            )

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("Latency", x)
        require_fixed("Latency", x)
        require_kind("Latency", x, Kind.VALUE, Kind.SPIKE)
        return x.with_(kind=Kind.SPIKE, clock=Clock.STEP)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"step": np.zeros(batch, np.int64)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        step = state["step"]
        now = step.reshape(-1, *(1,) * (inputs[0].ndim - 1))
        spikes = self.firing_step(inputs[0]) == now
        return {"step": (step + 1) % self.steps}, spikes.astype(np.uint8)

    def firing_step(self, x: Array) -> Array:
        """t_f of each element, int64."""
        x = np.clip(as_value(x), np.float32(0), np.float32(1))
        last = np.float32(self.steps - 1)
        if self.curve == LINEAR:
            return np.rint(last * (np.float32(1) - x)).astype(np.int64)
        alpha = np.float32(np.expm1(np.float64(self.steps - 1)))
        # The logarithm is taken in float64: numpy's float32 one may round by memory layout.
        return np.rint(last - np.log((alpha * x + np.float32(1)).astype(np.float64)).astype(np.float32)).astype(
            np.int64
        )
