"""The sum of several signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.axes import as_summand, sum_kind
from synfire.ops.elementwise import broadcast
from synfire.ops.operator import Stateless, operator, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class Add(Stateless):
    """Y = X_0 + X_1 + …, added in port order. Spikes and counts add up to counts (SEW's ADD), anything else to values.

    Sizes of 1 stretch to the other inputs' size.
    """

    inputs: ClassVar[int | None] = None

    def infer(self, *inputs: Signal) -> Signal:
        return Signal(broadcast("Add", *inputs), sum_kind(*inputs), stepwise(*inputs))

    def apply(self, *inputs: Array) -> Array:
        total, *others = (as_summand(each, *inputs) for each in inputs)
        for other in others:
            total = total + other
        return total
