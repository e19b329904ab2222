"""The place of the highest score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, axis_of, batch_axis
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class ArgMax(Stateless):
    """Y = argmax_c X_c along `axis` of a sample: the predicted class. Of equals, the lowest index."""

    axis: int = -1

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("ArgMax", x, *NUMBERS, Kind.INDEX)
        axis = axis_of("ArgMax", self.axis, x)
        if x.shape[axis] < 1:
            raise UserError(f"ArgMax chooses among the elements of axis {self.axis}, but {x} has none there")
        return x.with_(shape=x.shape[:axis] + x.shape[axis + 1 :], kind=Kind.INDEX, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        return np.argmax(inputs[0], axis=batch_axis(self.axis)).astype(np.int64, copy=False)
