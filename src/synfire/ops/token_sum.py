"""The sum over tokens."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.axes import NUMBERS, as_summand, axis_of, batch_axis, ordered_sum, sum_kind
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class TokenSum(Stateless):
    """Y = Σ_n X[n] over the token axis `axis` of a sample, in ascending n; spikes add up to counts.

    With `keepdims` the axis stays, of size 1, so that Q ⊙ LIF(Σ_n K ⊙ V) of the Spike-driven Transformer
    (doi:10.48550/arXiv.2307.01694) is Multiply → TokenSum → LIF → Multiply.
    """

    axis: int = 0
    keepdims: bool = False

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("TokenSum", x, *NUMBERS)
        axis = axis_of("TokenSum", self.axis, x)
        left = (1,) if self.keepdims else ()
        return x.with_(shape=(*x.shape[:axis], *left, *x.shape[axis + 1 :]), kind=sum_kind(x), clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        axis = batch_axis(self.axis) % inputs[0].ndim
        total = ordered_sum(as_summand(inputs[0]), axis)
        return total.reshape(*total.shape[:axis], 1, *total.shape[axis:]) if self.keepdims else total
