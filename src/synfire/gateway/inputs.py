"""Checks what a caller sent against a graph's inputs, and lays it out as routes take it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from synfire.base.errors import UserError
from synfire.gateway.limits import Limits
from synfire.graph import Graph
from synfire.ops import Array, Kind, Signal


class Intake:
    """The input rules of one graph.

    A call gives the inputs as a `Call` holds them: `(batch, *shape)`, or `(steps, batch, *shape)` on the step clock, in
    the dtype of each signal's kind. Another dtype is taken when each of its values survives the conversion exactly. Callers of a
    graph that takes no batches leave that axis out.
    Raises `UserError` that names the input, what arrived, and what it takes.
    """

    def __init__(self, graph: Graph, limits: Limits) -> None:
        self._signals = dict(graph.inputs)
        self._plain = {
            name for name, signal in self._signals.items() if not signal.timed and min(signal.shape, default=1) > 0
        }
        self._steps = graph.steps
        self._batches = graph.batches
        self._limits = limits
        self._most = limits.samples(graph)

    def __call__(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        if tensors.keys() != self._signals.keys():
            raise UserError(_wrong_names(tensors, self._signals))
        inputs = {name: self._one(name, signal, tensors[name]) for name, signal in self._signals.items()}
        if len(inputs) > 1:
            _agree("batch", {name: batch_of(signal, inputs[name]) for name, signal in self._signals.items()})
            _agree("number of time steps", {n: len(inputs[n]) for n, signal in self._signals.items() if signal.timed})
        return inputs

    def _one(self, name: str, signal: Signal, array: Array) -> Array:
        if not self._batches:
            array = array[None]
        shape = array.shape
        if name not in self._plain or shape[1:] != signal.shape or not 0 < shape[0] <= self._most:
            self._check_shape(name, signal, shape)
        array = exact(f"input {name!r}", array, signal.kind)
        return np.ascontiguousarray(array.swapaxes(0, 1)) if signal.timed else array

    def _check_shape(self, name: str, signal: Signal, shape: tuple[int, ...]) -> None:
        own = shape[2:] if signal.timed else shape[1:]
        axes = caller_axes(signal, self._batches)
        seen = list(shape if self._batches else shape[1:])
        fits = len(seen) == len(axes) and all(
            wanted in (-1, size) for wanted, size in zip(signal.shape, own, strict=True)
        )
        if not fits:
            raise UserError(f"input {name!r} has shape {seen}; it takes [{', '.join(axes)}]")
        ahead = len(shape) - len(own)
        if 0 in shape[:ahead] or any(size == 0 for wanted, size in zip(signal.shape, own, strict=True) if wanted >= 0):
            raise UserError(f"input {name!r} is empty, its shape is {seen}; send one sample and one value at least")
        if shape[0] > self._most:
            raise UserError(f"input {name!r} has a batch of {shape[0]}, above the limit batch={self._most}; split it")
        if shape[0] > 1 and -1 in signal.shape:
            raise UserError(
                f"input {name!r} has a batch of {shape[0]}, but samples of differing size travel alone; send each in a "
                "request of its own"
            )
        if signal.timed:
            self._check_steps(name, shape[1])

    def _check_steps(self, name: str, steps: int) -> None:
        if steps > self._limits.steps:
            raise UserError(
                f"input {name!r} has {steps} time steps, above the limit steps={self._limits.steps}; send them in several "
                "calls of one session"
            )
        if self._steps is not None and steps != self._steps:
            raise UserError(f"input {name!r} has {steps} time steps; this model runs {self._steps} a request")


def batch_of(signal: Signal, array: Array) -> int:
    """The batch of an array as routes take it."""
    return int(array.shape[1 if signal.timed else 0])


def samples(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """How many samples a call with these inputs brings."""
    for name, signal in graph.inputs.items():  # the first one; all agree
        return batch_of(signal, inputs[name])
    return 1


def work_of(graph: Graph, inputs: Mapping[str, Array]) -> float:
    """How much work a call with these inputs is beside others: its samples by its time steps; one where it does not say how many these are."""
    timed = [len(inputs[name]) for name, signal in graph.inputs.items() if signal.timed and name in inputs]
    return float(samples(graph, inputs) * max(timed, default=1)) if inputs else 1.0


def caller_axes(signal: Signal, batches: bool = True) -> tuple[str, ...]:
    """The axes of a signal's tensor as callers see it, in words."""
    own = tuple("any" if size < 0 else str(size) for size in signal.shape)
    if not batches:
        return own
    batch = "1" if -1 in signal.shape else "batch"
    return (batch, "steps", *own) if signal.timed else (batch, *own)


def exact(where: str, array: Array, kind: Kind) -> Array:
    """The array in the dtype of `kind`, not copied where it is that already.

    Raises `UserError` for NaN, infinity, a value that the conversion would change, a spike that is neither 0 nor 1,
    or a negative count.
    """
    if (array.dtype == object) != (kind is Kind.BYTES):
        raise UserError(f"{where} is {'BYTES' if array.dtype == object else array.dtype}; it takes {_takes(kind)}")
    if kind is Kind.BYTES:
        _refuse_base64(where, array)
        return array
    if array.dtype.kind == "f" and not kind.plain and not _finite(array):
        raise UserError(f"{where} holds {_first(array, ~np.isfinite(array))}; send finite numbers")
    if array.dtype != kind.dtype:
        array = _convert(where, array, kind)
    if kind is Kind.SPIKE and array.max(initial=0) > 1:
        raise UserError(f"{where} holds {_first(array, array > 1)}; a spike is 0 or 1")
    if kind is Kind.COUNT and array.min(initial=0) < 0:
        raise UserError(f"{where} holds {_first(array, array < 0)}; a count is not negative")
    return array


def _finite(array: Array) -> bool:
    """Whether all numbers are. The sum of their squares is not where one of them is not, and takes a sixth of the time to compute, as bodies
    lie: without regard to words. It may also be too large itself; and of many numbers several threads would compute it."""
    if array.size <= _SUMMED:
        flat = array.reshape(-1)
        if math.isfinite(np.vdot(flat, flat)):
            return True
    return bool(np.isfinite(array).all())


_SUMMED = 8192


def _refuse_base64(where: str, array: Array) -> None:
    if any(isinstance(each, bytes) and each.startswith(_BASE64) for each in array.flat):
        raise UserError(
            f"{where} holds text that looks like a file in base64; in JSON say so with the tensor's "
            '"parameters": {"content_type": "base64"}, and as raw bytes send the file itself'
        )


_BASE64 = (b"iVBORw0KGgo", b"/9j/", b"UklGR")
"""How PNG, JPEG and WAV files begin in base64; no file that a decoder reads begins so itself."""


def _convert(where: str, array: Array, kind: Kind) -> Array:
    if np.can_cast(array.dtype, kind.dtype, "safe"):
        return array.astype(kind.dtype)
    with np.errstate(all="ignore"):
        converted = array.astype(kind.dtype)
        back = converted.astype(array.dtype)
        same = (back == array) | ((back != back) & (array != array))  # no NaN equals itself
        changed = ~same | ((converted < 0) != (array < 0))
    if changed.any():
        raise UserError(f"{where} holds {_first(array, changed)}, which is no {kind.dtype}; it takes {_takes(kind)}")
    return converted


def _first(array: Array, where: Array) -> str:
    index = tuple(int(each) for each in np.argwhere(where)[0])
    return f"{array[index]} at {list(index)}"


def _takes(kind: Kind) -> str:
    if kind is Kind.BYTES:
        return "BYTES: the content of one file per sample"
    return f"{kind.dtype}, or another number format whose every value is exactly one"


def _wrong_names(tensors: Mapping[str, Array], signals: Mapping[str, Signal]) -> str:
    missing = [name for name in signals if name not in tensors]
    unknown = [name for name in tensors if name not in signals]
    wrong = [f"misses {missing}"] * bool(missing) + [f"brings {unknown}, which it does not take"] * bool(unknown)
    return f"the request {' and '.join(wrong)}; this model's inputs are {sorted(signals)}"


def _agree(what: str, sizes: Mapping[str, int]) -> None:
    if len(set(sizes.values())) > 1:
        raise UserError(f"the inputs differ in their {what}: {dict(sizes)}; make them equal")
