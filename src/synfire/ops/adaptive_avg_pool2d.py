"""Average pooling to a given size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, as_summand, ordered_sum
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class AdaptiveAvgPool2d(Stateless):
    """Y[c, i, j] = mean of X[c, ⌊i·H/h⌋ : ⌈(i+1)·H/h⌉, ⌊j·W/w⌋ : ⌈(j+1)·W/w⌉] for `size` (h, w), as in PyTorch.

    Each region is summed row by row (spikes exactly), then divided by its height and then by its width, or once by their
    product for size (1, 1): PyTorch's own roundings. GlobalAvgPool is the latter without the axes.
    """

    size: tuple[int, int]

    def check(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"AdaptiveAvgPool2d.size is {self.size}; give (height, width), each ≥ 1")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_shape("AdaptiveAvgPool2d", x, 3)
        require_kind("AdaptiveAvgPool2d", x, *NUMBERS)
        return x.with_(shape=(x.shape[0], *self.size), kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        x = as_summand(inputs[0])
        mean = np.empty((*x.shape[:2], *self.size), np.float32)
        for i, rows in enumerate(regions(x.shape[2], self.size[0])):
            for j, columns in enumerate(regions(x.shape[3], self.size[1])):
                mean[:, :, i, j] = self._mean(x[:, :, rows, columns])
        return mean

    def _mean(self, region: Array) -> Array:
        height, width = region.shape[2:]
        total = ordered_sum(region.reshape(*region.shape[:2], -1), -1).astype(np.float32)
        if self.size == (1, 1):
            return total / np.float32(height * width)
        return total / np.float32(height) / np.float32(width)


def regions(size: int, outputs: int) -> list[slice]:
    """What each of the outputs along an axis of `size` averages."""
    return [slice(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]
