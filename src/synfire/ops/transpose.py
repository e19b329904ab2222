"""Axes in another order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_fixed
from synfire.ops.operator import Stateless, operator, stepwise
from synfire.ops.signal import Array, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class Transpose(Stateless):
    """Y[i_{axes[0]}, i_{axes[1]}, …] = X[i_0, i_1, …]: axis `axes[j]` of a sample becomes axis j."""

    axes: tuple[int, ...]

    def check(self) -> None:
        if sorted(self.axes) != list(range(len(self.axes))):
            raise UserError(f"Transpose.axes is {self.axes}; name each axis of a sample once, counting from 0")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_fixed("Transpose", x)
        require_shape("Transpose", x, len(self.axes))
        return x.with_(shape=tuple(x.shape[axis] for axis in self.axes), clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        return np.ascontiguousarray(inputs[0].transpose(0, *(axis + 1 for axis in self.axes)))
