"""Scores as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.axes import NUMBERS, axis_of, batch_axis, ordered_sum
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Softmax(Stateless):
    """Y_c = e^(X_c − max X) / Σ_d e^(X_d − max X) along `axis` of a sample; computed in float64, rounded to float32 once."""

    axis: int = -1

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("Softmax", x, *NUMBERS)
        axis_of("Softmax", self.axis, x)
        return x.with_(kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        x, axis = inputs[0].astype(np.float64), batch_axis(self.axis)
        powers = np.exp(x - x.max(axis=axis, keepdims=True))
        return (powers / np.expand_dims(ordered_sum(powers, axis), axis)).astype(np.float32)
