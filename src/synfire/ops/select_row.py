"""A row of one signal, by the number that another brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.lookup import require_rows
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class SelectRow(Stateless):
    """Y = X[i] with X `(n, *features)` at port 0 and the index i, one per sample, at port 1.

    With a Constant at port 0 the pass `fold_constants` makes it a Lookup. Raises `UserError` at a step for an index outside X.
    """

    inputs: ClassVar[int | None] = 2

    def infer(self, *inputs: Signal) -> Signal:
        table, index = inputs
        require_kind("SelectRow, at port 1,", index, Kind.INDEX)
        if index.shape or not table.shape:
            raise UserError(f"SelectRow takes (n, *features) and one index, got {table} and {index}; check its ports")
        return table.with_(shape=table.shape[1:], clock=stepwise(table, index))

    def apply(self, *inputs: Array) -> Array:
        table, index = inputs
        require_rows("SelectRow", index, table.shape[1])
        return table[np.arange(len(index)), index]
