"""Maximum pooling over sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.operator import operator
from synfire.ops.pooling import Pool, window_max
from synfire.ops.signal import Array, Kind


@operator
@dataclass(frozen=True, eq=False)
class MaxPool1d(Pool):
    """Y[c, x] = max_s X[c, x·stride + s·dilation − left] over `(channel, length)`; padding `(left, right)` never wins."""

    kernel: tuple[int]
    stride: tuple[int]
    padding: tuple[int, int] = (0, 0)
    ceil_mode: bool = False
    dilation: tuple[int] = (1,)

    spatial: ClassVar[int] = 1

    def output_kind(self, kind: Kind) -> Kind:
        return kind

    def apply(self, *inputs: Array) -> Array:
        return window_max(self, inputs[0])

    def _dilation(self) -> tuple[int, ...]:
        return self.dilation
