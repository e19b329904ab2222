"""Leaky integrate-and-fire with a learned time constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.membrane import HARD, SOFT, after_spike, f32, fired, held, require_choice, require_parameters_fit
from synfire.ops.operator import Operator, State, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


def sigmoid(w: Array | float) -> Array:
    """1 / (1 + exp(−w)), correctly rounded to float32 (computed in float64)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(w, np.float64))), np.float32)


@operator
@dataclass(frozen=True, eq=False)
class ParametricLIF(Operator):
    """A leaky integrate-and-fire neuron whose 1/τ = sigmoid(w) was learned, one w per layer.

    Charge, with q = `inv_tau` and V₀ = v_reset (hard) or 0 (soft)::

        decay_input   H = V + (X − (V − V₀)) · q
        otherwise     H = V − (V − V₀) · q + X

    Fire and reset as in `LIF`. The parameter is q itself and not w, because exp is rounded differently from library to
    library: an importer takes the q with which the source computes; `from_w` rounds it correctly.
    Source: Fang et al. 2021, arXiv:2007.05785; SpikingJelly's `ParametricLIFNode`, to the bit for the same q (its soft
    reset without decay_input multiplies V by 1 − q in 0.0.0.0.14, and is as written here in 2.0).
    """

    inv_tau: Array | float = 0.5
    threshold: Array | float = 1.0
    v_reset: Array | float = 0.0
    decay_input: bool = True
    reset: str = HARD
    strict: bool = False

    @classmethod
    def from_w(cls, w: Array | float, **fields: Any) -> ParametricLIF:
        """The neuron of a learned `w`."""
        return cls(inv_tau=sigmoid(w), **fields)

    def check(self) -> None:
        require_choice(self.kind, "reset", self.reset, HARD, SOFT)
        if np.any(f32(self.inv_tau) < 0) or np.any(f32(self.inv_tau) > 1):
            raise UserError("ParametricLIF.inv_tau is sigmoid(w), between 0 and 1; pass w through from_w")

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=Kind.SPIKE, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"v": held(self._rest, batch, inputs[0])}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        h, threshold = self._charge(as_value(inputs[0]), state["v"]), f32(self.threshold)
        spikes = fired(h, threshold, self.strict)
        v = after_spike(self.reset, spikes, h, threshold, f32(self.v_reset))
        return {"v": v}, spikes.astype(np.uint8)

    @property
    def _rest(self) -> Array:
        return f32(0.0 if self.reset == SOFT else self.v_reset)

    def _charge(self, x: Array, v: Array) -> Array:
        q = f32(self.inv_tau)
        if self.decay_input:
            return v + (x - (v - self._rest)) * q
        return v - (v - self._rest) * q + x
