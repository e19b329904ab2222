"""Several axes become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import axis_of, require_fixed
from synfire.ops.operator import Stateless, operator, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class Flatten(Stateless):
    """Y = X with the axes `start_axis` … `end_axis` of a sample joined into one, in C order.

    Axes count within one sample, so the batch is never swallowed: PyTorch's `Flatten(1)` is `Flatten(0)` here.
    """

    start_axis: int = 0
    end_axis: int = -1

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_fixed("Flatten", x)
        if not x.shape:
            return x.with_(shape=(1,), clock=stepwise(x))
        start, end = axis_of("Flatten", self.start_axis, x), axis_of("Flatten", self.end_axis, x)
        if end < start:
            raise UserError(
                f"Flatten.start_axis {self.start_axis} comes after end_axis {self.end_axis} in {x}; swap them"
            )
        joined = int(np.prod(x.shape[start : end + 1], dtype=np.int64))
        return x.with_(shape=(*x.shape[:start], joined, *x.shape[end + 1 :]), clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        (x,) = inputs
        shape = self.infer(Signal(x.shape[1:])).shape
        return x.reshape(x.shape[0], *shape)
