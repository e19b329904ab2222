"""One signal where the other is silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synfire.ops.elementwise import broadcast
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class AndNot(Stateless):
    """Y = X · (1 − S) with X at port 0 and the spikes S at port 1: SEW's IAND (doi:10.48550/arXiv.2102.04159).

    X keeps its kind: of spikes this is X AND NOT S. Sizes of 1 stretch to the other input's size.
    """

    inputs: ClassVar[int | None] = 2

    def infer(self, *inputs: Signal) -> Signal:
        x, spikes = inputs
        require_kind("AndNot, at port 1,", spikes, Kind.SPIKE)
        return Signal(broadcast("AndNot", x, spikes), x.kind, stepwise(x, spikes))

    def apply(self, *inputs: Array) -> Array:
        x, spikes = inputs
        return np.where(spikes == 0, x, x.dtype.type(0))
