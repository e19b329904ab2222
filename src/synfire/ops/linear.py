"""All-to-all synapses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Linear(Stateless):
    """Y[..., o] = bias[o] + Σ_i weight[o, i] · X[..., i], summed in ascending i, starting from the bias.

    `weight` is `(output, input)`, `bias` `(output,)`; the sum runs over the last axis of the input, other axes are kept.
    """

    weight: Array
    bias: Array

    def check(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise UserError(
                f"Linear.weight {self.weight.shape} and bias {self.bias.shape} do not fit; they are (output, input) and (output,)"
            )

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        if not x.shape or x.shape[-1] != self.weight.shape[1]:
            raise UserError(
                f"Linear takes {self.weight.shape[1]} inputs on the last axis, got {x}; check the layer before"
            )
        return x.with_(shape=(*x.shape[:-1], self.weight.shape[0]), kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        x = as_value(inputs[0])
        total = np.broadcast_to(self.bias, (*x.shape[:-1], self.bias.size)).copy()
        for i in range(self.weight.shape[1]):
            total += x[..., i : i + 1] * self.weight[:, i]
        return total
