"""The product of two signals as matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, as_summand, ordered_product, sum_kind
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class MatMul(Stateless):
    """Y[…, i, j] = Σ_k A[…, i, k] · B[…, k, j], A at port 0 and B at port 1, summed in ascending k.

    `transpose_a` and `transpose_b` swap the last two axes of an input first; axes before them must agree. Of spikes and
    counts the result is a count, exact in any order; no synapse is static, so a crossbar cannot hold it.
    """

    transpose_a: bool = False
    transpose_b: bool = False

    inputs: ClassVar[int | None] = 2

    def infer(self, *inputs: Signal) -> Signal:
        for each in inputs:
            require_kind("MatMul", each, *NUMBERS)
            if len(each.shape) < 2:
                raise UserError(f"MatMul takes matrices, got {each}; insert a Reshape")
        a = _transposed(inputs[0].shape, self.transpose_a)
        b = _transposed(inputs[1].shape, self.transpose_b)
        if a[:-2] != b[:-2] or a[-1] != b[-2]:
            raise UserError(f"MatMul cannot multiply {a} by {b} (after the transpositions asked for); check its inputs")
        return Signal((*a[:-1], b[-1]), sum_kind(*inputs), stepwise(*inputs))

    def apply(self, *inputs: Array) -> Array:
        a, b = (as_summand(each, *inputs) for each in inputs)
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        b = np.swapaxes(b, -1, -2) if self.transpose_b else b
        return ordered_product(a, b)


def _transposed(shape: tuple[int, ...], swap: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if swap else shape
