"""The same mostly empty matrix for every sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, operator
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class SparseConstant(Stateless):
    """Y[r, columns[j]] = values[j] for indptr[r] ≤ j < indptr[r + 1], 0 elsewhere: Constant, stored row by row.

    `indptr` is int64 `(rows + 1,)`, `columns` int64 and `values` float32 `(entries,)`; Y is `(rows, width)`. For word
    vectors of documents and the like, which are a few per cent of their dense size in a bundle.
    """

    indptr: Array
    columns: Array
    values: Array
    width: int

    def check(self) -> None:
        entries = self.columns.size
        if self.indptr.ndim != 1 or self.columns.shape != (entries,) or self.values.shape != (entries,):
            raise UserError("SparseConstant needs indptr (rows + 1,), and columns and values of one length")
        if (
            not self.indptr.size
            or self.indptr[0] != 0
            or self.indptr[-1] != entries
            or np.any(np.diff(self.indptr) < 0)
        ):
            raise UserError(f"SparseConstant.indptr must ascend from 0 to the number of entries, {entries}")
        if entries and not 0 <= self.columns.min() <= self.columns.max() < self.width:
            raise UserError(f"SparseConstant.columns must lie from 0 to width − 1 = {self.width - 1}")

    @classmethod
    def of(cls, dense: Array) -> SparseConstant:
        """The operator whose output is `dense` `(rows, width)`."""
        rows, columns = np.nonzero(dense)
        counts = np.bincount(rows, minlength=dense.shape[0])
        return cls(np.concatenate([[0], np.cumsum(counts)]), columns, dense[rows, columns], dense.shape[1])

    def dense(self) -> Array:
        """The matrix `(rows, width)`, float32."""
        matrix = np.zeros((self.indptr.size - 1, self.width), np.float32)
        rows = np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))
        matrix[rows, self.columns] = self.values
        return matrix

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0].with_(shape=(self.indptr.size - 1, self.width), kind=Kind.VALUE)

    def apply(self, *inputs: Array) -> Array:
        return np.broadcast_to(self.dense(), (len(inputs[0]), self.indptr.size - 1, self.width))
