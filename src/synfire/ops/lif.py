"""Leaky integrate-and-fire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Operator, State, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal

HARD, SOFT = "hard", "soft"


@operator
@dataclass(frozen=True, eq=False)
class LIF(Operator):
    """A leaky integrate-and-fire neuron, one per input element.

    Charge, with `X` the input and `V` the membrane before::

        decay_input, hard   H = V + (X − (V − v_reset)) / tau
        decay_input, soft   H = V + (X − V) / tau
        otherwise,   hard   H = V − (V − v_reset) / tau + X
        otherwise,   soft   H = V · (1 − 1/tau) + X

    Fire: S = [H ≥ threshold], or [H > threshold] when `strict`. Reset: hard V = v_reset where S, soft V = H − threshold·S.
    `tau`, `threshold` and `v_reset` are in the model's own units (tau in time steps) and broadcast to the input shape.
    `V` starts at `v_reset` (hard) or 0 (soft). The operation order is SpikingJelly 0.0.0.0.14's (doi:10.1126/sciadv.adi1480).
    """

    tau: Array | float = 2.0
    threshold: Array | float = 1.0
    v_reset: Array | float = 0.0
    decay_input: bool = True
    reset: str = HARD
    strict: bool = False

    def check(self) -> None:
        if self.reset not in (HARD, SOFT):
            raise UserError(f"LIF.reset is {self.reset!r}; choose 'hard' or 'soft'")
        if np.any(np.asarray(self.tau) < 1):
            raise UserError("LIF.tau is below one time step; the membrane would overshoot: use a smaller dt_s")

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0].with_(kind=Kind.SPIKE, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        start = np.float32(0) if self.reset == SOFT else np.asarray(self.v_reset, np.float32)
        return {"v": np.broadcast_to(start, (batch, *inputs[0].shape)).astype(np.float32)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        x, v = as_value(inputs[0]), state["v"]
        h = self._charge(x, v)
        threshold = np.asarray(self.threshold, np.float32)
        spikes = h > threshold if self.strict else h >= threshold
        if self.reset == HARD:
            v = np.where(spikes, np.asarray(self.v_reset, np.float32), h)
        else:
            v = np.where(spikes, h - threshold, h)
        return {"v": v.astype(np.float32, copy=False)}, spikes.astype(np.uint8)

    def _charge(self, x: Array, v: Array) -> Array:
        tau, v_reset = np.asarray(self.tau, np.float32), np.asarray(self.v_reset, np.float32)
        if self.reset == SOFT:
            if self.decay_input:
                return v + (x - v) / tau
            return v * (np.float32(1) - np.float32(1) / tau) + x
        if self.decay_input:
            return v + (x - (v - v_reset)) / tau
        return v - (v - v_reset) / tau + x
