"""Average pooling over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.axes import as_summand
from synfire.ops.operator import operator
from synfire.ops.pooling import Pool, window_counts, window_mean
from synfire.ops.signal import Array, Kind


@operator
@dataclass(frozen=True, eq=False)
class AvgPool2d(Pool):
    """Y[c, y, x] = (Σ_{r,s} X[c, y·stride_h + r − top, x·stride_w + s − left]) / n over `(channel, height, width)`.

    `padding` is `(top, bottom, left, right)`. n is the window's number of elements: input and declared padding, or input
    alone when `count_include_pad` is false; what hangs over the end (`ceil_mode`) never counts, as in PyTorch. A
    `divisor` other than 0 replaces n. Spikes are summed exactly, then divided once.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor: int = 0

    spatial: ClassVar[int] = 2

    def output_kind(self, kind: Kind) -> Kind:
        return Kind.VALUE

    def apply(self, *inputs: Array) -> Array:
        return window_mean(self, as_summand(inputs[0]), self.count_include_pad, self.divisor)

    def counts(self, sizes: tuple[int, ...]) -> Array:
        """What the sum at each place of the output is divided by, for an input of `(height, width)`."""
        return window_counts(self, sizes, self.count_include_pad, self.divisor)
