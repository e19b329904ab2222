"""An offset per element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import NUMBERS, require_broadcast
from synfire.ops.operator import Stateless, as_value, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Shift(Stateless):
    """Y = X + offset, element by element (a learned position, say); `offset` is a number or broadcasts to the input shape."""

    offset: Array | float

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("Shift", x, *NUMBERS)
        require_broadcast("Shift.offset", self.offset, x)
        return x.with_(kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        return as_value(inputs[0]) + np.asarray(self.offset, np.float32)
