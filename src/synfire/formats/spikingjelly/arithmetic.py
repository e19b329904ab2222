"""Arithmetic that a traced forward may do: sums, products, matrices, and the complement of spikes."""

from __future__ import annotations

from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import shapes
from synfire.formats.spikingjelly.convert import Context, numbers
from synfire.formats.spikingjelly.sketch import Held, under
from synfire.ops import Array, Kind
from synfire.ops.add import Add
from synfire.ops.and_not import AndNot
from synfire.ops.linear import Linear
from synfire.ops.mat_mul import MatMul
from synfire.ops.multiply import Multiply
from synfire.ops.scale import Scale
from synfire.ops.shift import Shift

_NUMBER = (int, float)


def plain(context: Context, name: str, value: Any) -> Any:
    """`value`, a complement computed as 1 − S wherever it is not multiplied."""
    if isinstance(value, Complement):
        negative = context.sketch.add(under(name, "negative"), Scale(-1.0), value.spikes)
        return context.sketch.add(under(name, "complement"), Shift(1.0), negative)
    if isinstance(value, (tuple, list)):
        return type(value)(plain(context, name, each) for each in value)
    return value


class Complement:
    """1 − S of a spike train, which becomes AndNot when it is multiplied."""

    def __init__(self, spikes: Held) -> None:
        self.spikes = spikes
        self.shape = spikes.shape
        self.ndim = spikes.ndim


def add(context: Context, name: str, input: Any, other: Any, *, alpha: float = 1) -> Held:
    """`input + alpha · other`; a constant becomes a Shift."""
    if alpha != 1:
        other = mul(context, name, other, alpha) if isinstance(other, Held) else other * alpha
    x, y = (input, other) if isinstance(input, Held) else (other, input)
    if isinstance(y, Held):
        return _binary(context, name, Add(), x, y)
    offset = _constant(context, name, y, x)
    return x if not np.any(offset) else context.sketch.add(name, Shift(offset), x)


def sub(context: Context, name: str, input: Any, other: Any, *, alpha: float = 1) -> Held | Complement:
    """`input − alpha · other`; 1 − S of spikes waits for what it is multiplied with."""
    if (
        not isinstance(input, Held)
        and isinstance(input, _NUMBER)
        and float(input) == 1.0
        and other.signal.kind is Kind.SPIKE
    ):
        return Complement(other)
    negative = mul(context, name, other, -alpha) if isinstance(other, Held) else -other * alpha
    return add(context, name, input, negative)


def rsub(context: Context, name: str, input: Any, other: Any) -> Held | Complement:
    """`other − input`."""
    return sub(context, name, other, input)


def mul(context: Context, name: str, input: Any, other: Any) -> Held:
    """`input · other`; a constant becomes a Scale, 1 − S an AndNot."""
    x, y = (input, other) if isinstance(input, Held) else (other, input)
    if isinstance(x, Complement) or isinstance(y, Complement):
        return _masked(context, name, x, y)
    if isinstance(y, Held):
        return _binary(context, name, Multiply(), x, y)
    factor = _constant(context, name, y, x)
    return x if np.all(np.asarray(factor) == 1) else context.sketch.add(name, Scale(factor), x)


def div(context: Context, name: str, input: Any, other: Any) -> Held:
    """`input / other` by a constant, as a Scale by its reciprocal."""
    if isinstance(other, Held) or not isinstance(input, Held):
        raise UserError("it divides by a tensor that depends on the input; synfire divides by constants only")
    return mul(context, name, input, 1.0 / other)


def neg(context: Context, name: str, input: Held) -> Held:
    """`−input`."""
    return mul(context, name, input, -1.0)


def matmul(context: Context, name: str, input: Held, other: Any) -> Held:
    """`input @ other`, head by head for tensors, as a Linear for a constant matrix."""
    if not isinstance(other, Held):
        if other.ndim != 2:
            raise UserError("it multiplies by a constant that is no matrix; use nn.Linear")
        return linear(context, name, input, other.t())
    if not isinstance(input, Held):
        raise UserError("it multiplies a constant matrix from the left; use nn.Linear or nn.Conv1d with kernel 1")
    return _binary(context, name, MatMul(), input, other)


def linear(context: Context, name: str, input: Held, weight: Any, bias: Any = None) -> Held:
    """`input · weightᵀ + bias`."""
    w = numbers(context, name, weight)
    b = np.zeros(len(w), np.float32) if bias is None else numbers(context, name, bias)
    return context.sketch.add(name, Linear(w, b), input)


def _binary(context: Context, name: str, operator: Any, x: Held, y: Held) -> Held:
    if x.lead != y.lead:
        raise UserError(
            f"it joins tensors {shapes.spelled(x)} and {shapes.spelled(y)}, whose time and batch axes differ"
        )
    if len(x.signal.shape) != len(y.signal.shape) and not isinstance(operator, MatMul):
        raise UserError(
            f"it joins tensors {shapes.spelled(x)} and {shapes.spelled(y)} with different numbers of axes; reshape one"
        )
    return context.sketch.add(name, operator, x, y)


def _masked(context: Context, name: str, x: Any, y: Any) -> Held:
    kept, masking = (y, x) if isinstance(x, Complement) else (x, y)
    if not isinstance(kept, Held):
        raise UserError("it multiplies 1 − S by something that is no tensor of the net; write x * (1 - s)")
    return _binary(context, name, AndNot(), kept, masking.spikes)


def _constant(context: Context, name: str, value: Any, x: Held) -> Array | float:
    """A constant as it meets one sample of `x`. Raises `UserError` when it differs over time or batch."""
    if isinstance(value, _NUMBER):
        return float(np.float32(value))
    array = numbers(context, name, value)
    if array.ndim == 0:
        return float(array)
    lead = len(x.lead)
    extra = array.ndim - len(x.signal.shape)
    if extra > lead or any(size != 1 for size in array.shape[: max(extra, 0)]):
        raise UserError(
            f"it joins a constant of shape {array.shape} and a tensor {shapes.spelled(x)}; a constant may not differ over time or batch"
        )
    return array.reshape(array.shape[max(extra, 0) :])
