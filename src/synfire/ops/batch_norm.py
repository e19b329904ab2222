"""Batch normalisation with the statistics of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, axis_of
from synfire.ops.operator import Stateless, as_value, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class BatchNorm(Stateless):
    """Y = a · X + b along the channel axis, a = gain / √(variance + epsilon), b = shift − mean · a.

    All four arrays are `(channel,)`. `axis` is the channel's axis in one sample: 0 for `(channel,)`, `(channel, length)`
    and `(channel, height, width)`, −1 for tokens with channels last. a and b are computed in float64 and rounded once.
    Threshold-dependent normalisation (tdBN, doi:10.1609/aaai.v35i12.17320) is this with gain · α · threshold.
    The pass `fold_batch_norm` moves a and b into the synapses beside it.
    """

    mean: Array
    variance: Array
    gain: Array
    shift: Array
    epsilon: float = 1e-5
    axis: int = 0

    def check(self) -> None:
        shapes = {array.shape for array in (self.mean, self.variance, self.gain, self.shift)}
        if len(shapes) != 1 or self.mean.ndim != 1:
            raise UserError(
                f"BatchNorm's mean, variance, gain and shift have shapes {sorted(shapes)}; make all (channel,)"
            )
        if np.any(self.variance + np.float32(self.epsilon) <= 0):
            raise UserError("BatchNorm.variance + epsilon must be positive in every channel; give a larger epsilon")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("BatchNorm", x, *NUMBERS)
        if x.shape[axis_of("BatchNorm", self.axis, x)] != self.mean.size:
            raise UserError(
                f"BatchNorm has {self.mean.size} channels on axis {self.axis}, got {x}; check `axis` or the layer before"
            )
        return x.with_(kind=Kind.VALUE, clock=stepwise(x))

    def affine(self) -> tuple[Array, Array]:
        """(a, b) of Y = a · X + b, in float64."""
        mean, variance, gain, shift = (
            array.astype(np.float64) for array in (self.mean, self.variance, self.gain, self.shift)
        )
        a = gain / np.sqrt(variance + np.float64(np.float32(self.epsilon)))
        return a, shift - mean * a

    def apply(self, *inputs: Array) -> Array:
        x = as_value(inputs[0])
        shape = [1] * (x.ndim - 1)
        shape[self.axis] = -1
        a, b = (array.astype(np.float32).reshape(shape) for array in self.affine())
        return x * a + b
