"""The mean over space, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, as_summand, ordered_sum
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Stateless):
    """Y[c] = (Σ_s X[c, s]) / n over all n places s of `(channel, *spatial)`: an image, or tokens with channels first.

    Places are summed in ascending index (spikes exactly), then divided once. With `keepdims` the spatial axes stay, of size 1.
    """

    keepdims: bool = False

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("GlobalAvgPool", x, *NUMBERS)
        if len(x.shape) < 2:
            raise UserError(f"GlobalAvgPool needs (channel, *spatial), got {x}; there is nothing to average: remove it")
        left = (1,) * (len(x.shape) - 1) if self.keepdims else ()
        return x.with_(shape=(x.shape[0], *left), kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        x = as_summand(inputs[0])
        flat = x.reshape(*x.shape[:2], -1)
        mean = ordered_sum(flat, 2).astype(np.float32) / np.float32(flat.shape[2])
        return mean.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)) if self.keepdims else mean
