"""A part of a signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import axis_of, batch_axis, require_fixed
from synfire.ops.operator import Stateless, operator, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class Slice(Stateless):
    """Y = X[start], …, X[stop − 1] along `axis` of a sample: Q out of Q, K and V that one layer computes, say."""

    start: int
    stop: int
    axis: int = 0

    def check(self) -> None:
        if not 0 <= self.start < self.stop:
            raise UserError(f"Slice takes elements {self.start} to {self.stop}; give 0 ≤ start < stop")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_fixed("Slice", x)
        axis = axis_of("Slice", self.axis, x)
        if self.stop > x.shape[axis]:
            raise UserError(f"Slice.stop is {self.stop}, but {x} has {x.shape[axis]} elements on axis {axis}")
        return x.with_(shape=(*x.shape[:axis], self.stop - self.start, *x.shape[axis + 1 :]), clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        x = np.moveaxis(inputs[0], batch_axis(self.axis), 0)
        return np.ascontiguousarray(np.moveaxis(x[self.start : self.stop], 0, batch_axis(self.axis)))
