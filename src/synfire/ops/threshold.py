"""A spike wherever the input is large enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import NUMBERS, require_broadcast
from synfire.ops.operator import Stateless, as_value, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Threshold(Stateless):
    """S = [X ≥ threshold], or [X > threshold] when `strict` (NIR's Threshold). Without memory, unlike a neuron.

    `threshold` is one number or an array that broadcasts to the input shape.
    """

    threshold: Array | float
    strict: bool = False

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("Threshold", x, *NUMBERS)
        require_broadcast("Threshold.threshold", self.threshold, x)
        return x.with_(kind=Kind.SPIKE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        x, threshold = as_value(inputs[0]), np.asarray(self.threshold, np.float32)
        return (x > threshold if self.strict else x >= threshold).astype(np.uint8)
