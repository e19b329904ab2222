"""Average pooling over sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.axes import as_summand
from synfire.ops.operator import operator
from synfire.ops.pooling import Pool, window_counts, window_mean
from synfire.ops.signal import Array, Kind


@operator
@dataclass(frozen=True, eq=False)
class AvgPool1d(Pool):
    """Y[c, x] = (Σ_s X[c, x·stride + s − left]) / n over `(channel, length)`; n as in AvgPool2d, padding `(left, right)`."""

    kernel: tuple[int]
    stride: tuple[int]
    padding: tuple[int, int] = (0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True

    spatial: ClassVar[int] = 1

    def output_kind(self, kind: Kind) -> Kind:
        return Kind.VALUE

    def apply(self, *inputs: Array) -> Array:
        return window_mean(self, as_summand(inputs[0]), self.count_include_pad)

    def counts(self, sizes: tuple[int, ...]) -> Array:
        """What the sum at each place of the output is divided by, for an input of `(length,)`."""
        return window_counts(self, sizes, self.count_include_pad)
