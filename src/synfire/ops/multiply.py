"""The product of several signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synfire.ops.axes import as_summand, sum_kind
from synfire.ops.elementwise import broadcast
from synfire.ops.operator import Stateless, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Multiply(Stateless):
    """Y = X_0 · X_1 · …, multiplied in port order. The product of spikes is their AND (SEW's AND) and stays a spike.

    Spikes and counts make counts, anything else values. Sizes of 1 stretch to the other inputs' size, so a mask of one
    spike per channel, `(channel, 1)`, may gate `(channel, token)`.
    """

    inputs: ClassVar[int | None] = None

    def infer(self, *inputs: Signal) -> Signal:
        spikes = all(each.kind is Kind.SPIKE for each in inputs)
        kind = Kind.SPIKE if spikes else sum_kind(*inputs)
        return Signal(broadcast("Multiply", *inputs), kind, stepwise(*inputs))

    def apply(self, *inputs: Array) -> Array:
        spikes = all(each.dtype == Kind.SPIKE.dtype for each in inputs)
        product, *others = inputs if spikes else (as_summand(each, *inputs) for each in inputs)
        for other in others:
            product = product * other
        return product
