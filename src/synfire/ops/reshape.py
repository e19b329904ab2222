"""The same numbers in another shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_fixed
from synfire.ops.operator import Stateless, operator, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class Reshape(Stateless):
    """Y = X with a sample's numbers, in C order, laid out as `shape`; one size may be −1 and is then worked out."""

    shape: tuple[int, ...]

    def check(self) -> None:
        if sum(size == -1 for size in self.shape) > 1 or any(size < -1 for size in self.shape):
            raise UserError(f"Reshape.shape is {self.shape}; sizes are ≥ 0, and at most one is −1")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_fixed("Reshape", x)
        known = int(np.prod([size for size in self.shape if size >= 0], dtype=np.int64))
        shape = tuple(x.size // max(known, 1) if size == -1 else size for size in self.shape)
        if int(np.prod(shape, dtype=np.int64)) != x.size:
            raise UserError(f"Reshape cannot lay {x} out as {self.shape}; the sizes must multiply to {x.size}")
        return x.with_(shape=shape, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        (x,) = inputs
        return x.reshape(x.shape[0], *self.infer(Signal(x.shape[1:])).shape)
