"""What several operators share: rules on axes and clocks, and sums in the canonical order."""

from __future__ import annotations

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import as_value
from synfire.ops.signal import Array, Clock, Kind, Signal

NUMBERS = (Kind.SPIKE, Kind.COUNT, Kind.VALUE)
"""The kinds that arithmetic is done with."""


def axis_of(where: str, axis: int, signal: Signal) -> int:
    """`axis` of one sample as a number from 0; raises `UserError` when the signal has no such axis."""
    ndim = len(signal.shape)
    if not -ndim <= axis < ndim:
        raise UserError(
            f"{where} works on axis {axis}, but {signal} has {ndim} axes per sample; give an axis from 0 to {ndim - 1} "
            "(the batch is not counted)"
        )
    return axis % ndim


def batch_axis(axis: int) -> int:
    """`axis` of one sample, counted from the front or the back, as an axis of a batch `(batch, *shape)`."""
    return axis + 1 if axis >= 0 else axis


def require_request(where: str, signal: Signal) -> None:
    """Raise `UserError` unless the signal has one value per request."""
    if signal.clock is not Clock.REQUEST:
        raise UserError(f"{where} takes one value per request, got {signal}; move it before the encoder")


def require_steps(where: str, signal: Signal) -> None:
    """Raise `UserError` unless the signal has one value per time step."""
    if signal.clock is not Clock.STEP:
        raise UserError(
            f"{where} reads a signal per step, got {signal}; put an encoder (ConstantCurrent, say) before it"
        )


def require_fixed(where: str, signal: Signal) -> None:
    """Raise `UserError` when a dimension of the signal is ragged (−1)."""
    if any(size < 0 for size in signal.shape):
        raise UserError(
            f"{where} takes arrays of a fixed shape, got {signal}; put a pre-processing operator (EventFrames, say) before it"
        )


def require_broadcast(where: str, parameter: Array | float, signal: Signal) -> None:
    """Raise `UserError` unless `parameter` stretches to the signal's shape without changing it."""
    shape = np.shape(parameter)
    try:
        fits = np.broadcast_shapes(shape, signal.shape) == signal.shape
    except ValueError:
        fits = False
    if not fits:
        raise UserError(f"{where} has shape {shape}, which does not broadcast to {signal}; reshape the parameter")


def sum_kind(*signals: Signal) -> Kind:
    """The kind of a sum: spikes and counts add up to counts, anything else to values."""
    return Kind.COUNT if all(each.kind in (Kind.SPIKE, Kind.COUNT) for each in signals) else Kind.VALUE


def as_summand(array: Array, *others: Array) -> Array:
    """The array as int32 when it and `others` hold spikes or counts, else as float32."""
    if all(each.dtype.kind in "iu" for each in (array, *others)):
        return array.astype(np.int32, copy=False)
    return as_value(array)


def ordered_sum(array: Array, axis: int) -> Array:
    """The sum along `axis` in ascending index, one addition after the other, in the array's own dtype.

    `numpy.sum` chooses its order by memory layout; this one is the same for every batch and layout.
    """
    rows = np.moveaxis(array, axis, 0)
    total = np.zeros(rows.shape[1:], array.dtype)
    for row in rows:
        total += row
    return total


def ordered_product(a: Array, b: Array) -> Array:
    """The matrix product over the last two axes, summed in ascending inner index in the arrays' own dtype."""
    total = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    for k in range(a.shape[-1]):
        total += a[..., :, k, None] * b[..., None, k, :]
    return total
