"""What element-by-element operators share: shapes that stretch to each other, and kinds that combine."""

from __future__ import annotations

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS
from synfire.ops.operator import require_kind
from synfire.ops.signal import Signal


def broadcast(where: str, *inputs: Signal) -> tuple[int, ...]:
    """The shape that all inputs stretch to; sizes of 1 repeat. Raises `UserError` for other kinds or unlike shapes."""
    for each in inputs:
        require_kind(where, each, *NUMBERS)
    if len({len(each.shape) for each in inputs}) != 1:
        raise UserError(f"{where} joins {_listed(inputs)}, with unlike numbers of axes; insert a Reshape or Flatten")
    try:
        return np.broadcast_shapes(*(each.shape for each in inputs))
    except ValueError as error:
        raise UserError(
            f"{where} joins {_listed(inputs)}, whose shapes do not fit; sizes must be equal or 1"
        ) from error


def _listed(inputs: tuple[Signal, ...]) -> str:
    return " and ".join(str(each) for each in inputs)
