"""Sum pooling over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.axes import as_summand
from synfire.ops.operator import operator
from synfire.ops.pooling import Pool, window_sum
from synfire.ops.signal import Array, Kind


@operator
@dataclass(frozen=True, eq=False)
class SumPool2d(Pool):
    """Y[c, y, x] = Σ_{r,s} X[c, y·stride_h + r − top, x·stride_w + s − left] over `(channel, height, width)`.

    `padding` is `(top, bottom, left, right)`. Spikes add up to counts. The order is ascending (r, s). NIR's SumPool2d.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False

    spatial: ClassVar[int] = 2

    def output_kind(self, kind: Kind) -> Kind:
        return Kind.VALUE if kind is Kind.VALUE else Kind.COUNT

    def apply(self, *inputs: Array) -> Array:
        return window_sum(self, as_summand(inputs[0]))
