"""The mean over tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import NUMBERS, as_summand, axis_of, batch_axis, ordered_sum
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class TokenMean(Stateless):
    """Y = (Σ_n X[n]) / N over the N tokens of `axis` of a sample, in ascending n; the sum of spikes is exact.

    For tokens with channels last; GlobalAvgPool does it for channels first. `keepdims` leaves the axis, of size 1.
    """

    axis: int = 0
    keepdims: bool = False

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("TokenMean", x, *NUMBERS)
        axis = axis_of("TokenMean", self.axis, x)
        left = (1,) if self.keepdims else ()
        return x.with_(shape=(*x.shape[:axis], *left, *x.shape[axis + 1 :]), kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        axis = batch_axis(self.axis) % inputs[0].ndim
        mean = ordered_sum(as_summand(inputs[0]), axis).astype(np.float32) / np.float32(inputs[0].shape[axis])
        return mean.reshape(*mean.shape[:axis], 1, *mean.shape[axis:]) if self.keepdims else mean
