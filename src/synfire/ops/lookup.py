"""A row of a stored table, by its number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Lookup(Stateless):
    """Y = table[X]: `table` is `(n, *features)` float32, X an index from 0 to n − 1, e.g. a node's id in a stored graph.

    Raises `UserError` at a step for an index outside the table.
    """

    table: Array

    def check(self) -> None:
        if self.table.ndim < 1 or self.table.dtype != np.float32:
            raise UserError(f"Lookup.table is {self.table.dtype} {self.table.shape}; give float32 rows (n, *features)")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_kind("Lookup", x, Kind.INDEX)
        return Signal((*x.shape, *self.table.shape[1:]), Kind.VALUE, stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        require_rows("Lookup", inputs[0], len(self.table))
        return self.table[inputs[0]]


def require_rows(where: str, index: Array, rows: int) -> None:
    """Raise `UserError` unless every index lies from 0 to `rows` − 1."""
    outside = index[(index < 0) | (index >= rows)]
    if outside.size:
        raise UserError(
            f"{where} holds rows 0 to {rows - 1}, and row {int(outside[0])} was asked for; send one of those"
        )
