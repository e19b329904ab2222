"""A factor per element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import NUMBERS, require_broadcast
from synfire.ops.operator import Stateless, as_value, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Scale(Stateless):
    """Y = X · factor, element by element; `factor` is one number or an array that broadcasts to the input shape."""

    factor: Array | float

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("Scale", x, *NUMBERS)
        require_broadcast("Scale.factor", self.factor, x)
        return x.with_(kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        return as_value(inputs[0]) * np.asarray(self.factor, np.float32)
