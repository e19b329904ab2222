"""Several signals end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, as_summand, axis_of, batch_axis, sum_kind
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Concatenate(Stateless):
    """Y = [X_0, X_1, …] in port order along `axis` of a sample (0: channels).

    Inputs of one kind keep it; spikes among counts become counts, anything among values becomes values.
    """

    axis: int = 0

    inputs: ClassVar[int | None] = None

    def infer(self, *inputs: Signal) -> Signal:
        first = inputs[0]
        axis = axis_of("Concatenate", self.axis, first)
        for each in inputs:
            require_kind("Concatenate", each, *NUMBERS)
            if _without(each, axis) != _without(first, axis):
                raise UserError(f"Concatenate joins {first} and {each}; sizes may differ on axis {axis} alone")
        spikes = all(each.kind is Kind.SPIKE for each in inputs)
        length = sum(each.shape[axis] for each in inputs)
        shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
        return Signal(shape, Kind.SPIKE if spikes else sum_kind(*inputs), stepwise(*inputs))

    def apply(self, *inputs: Array) -> Array:
        spikes = all(each.dtype == Kind.SPIKE.dtype for each in inputs)
        parts = inputs if spikes else [as_summand(each, *inputs) for each in inputs]
        return np.concatenate(parts, axis=batch_axis(self.axis))


def _without(signal: Signal, axis: int) -> tuple[int, tuple[int, ...]]:
    return len(signal.shape), signal.shape[:axis] + signal.shape[axis + 1 :]
