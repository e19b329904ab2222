"""The same value for every sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.operator import Stateless, operator
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Constant(Stateless):
    """Y = value, whatever X is: the input only says for how many samples, and on which clock.

    A float32 `value` leaves as values, an int64 one as indices. What only constants feed is computed once, at load, by
    the pass `fold_constants`.
    """

    value: Array

    def infer(self, *inputs: Signal) -> Signal:
        kind = Kind.VALUE if self.value.dtype == Kind.VALUE.dtype else Kind.INDEX
        return inputs[0].with_(shape=self.value.shape, kind=kind)

    def apply(self, *inputs: Array) -> Array:
        return np.broadcast_to(self.value, (len(inputs[0]), *self.value.shape))
