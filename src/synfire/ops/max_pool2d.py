"""Maximum pooling over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.operator import operator
from synfire.ops.pooling import Pool, window_max
from synfire.ops.signal import Array, Kind


@operator
@dataclass(frozen=True, eq=False)
class MaxPool2d(Pool):
    """Y[c, y, x] = max_{r,s} X[c, y·stride_h + r·dil_h − top, x·stride_w + s·dil_w − left] over `(channel, height, width)`.

    `padding` is `(top, bottom, left, right)` and never wins. The maximum of spikes is their OR, so spikes stay spikes.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False
    dilation: tuple[int, int] = (1, 1)

    spatial: ClassVar[int] = 2

    def output_kind(self, kind: Kind) -> Kind:
        return kind

    def apply(self, *inputs: Array) -> Array:
        return window_max(self, inputs[0])

    def _dilation(self) -> tuple[int, ...]:
        return self.dilation
