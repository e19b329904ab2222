"""What a constant is, what a chain says of its inputs, and whether one type fits another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synfire.base.errors import UnknownName, UserError
from synfire.ops import Array, Clock, Kind, Signal


def constant(value: Any, batch: int = 1, where: str = "a step") -> Array:
    """A constant for each of so many samples: texts, whole numbers or truths as they are, other numbers in float32.

    Raises `UserError` for what is none of these.
    """
    try:
        plain = np.asarray(value)
    except ValueError:  # lists of several lengths
        plain = np.asarray(None)
    if plain.dtype.kind not in _CONSTANTS:
        raise UserError(f"{where}: the constant {value!r} is neither numbers nor texts, in lists of one length")
    kind = _CONSTANTS[plain.dtype.kind]
    array = np.empty(plain.shape, kind.dtype)
    array[...] = np.vectorize(str.encode, otypes=[object])(plain) if kind is Kind.BYTES and plain.size else plain
    return np.broadcast_to(array, (batch, *array.shape))


_CONSTANTS = {"U": Kind.BYTES, "i": Kind.INDEX, "b": Kind.BOOL, "f": Kind.VALUE}


def signal_of(value: Any, where: str) -> Signal:
    """What a constant is. Raises as `constant` does."""
    array = constant(value, 1, where)
    kind = next(each for each in _CONSTANTS.values() if each.dtype == array.dtype)
    return Signal(array.shape[1:], kind, Clock.REQUEST)


def check_fits(given: Signal, wanted: Signal, where: str) -> None:
    """Raise `UserError` where what is given is not what is wanted, with the reason."""
    problem = ""
    if (given.clock is Clock.STEP) != (wanted.clock is Clock.STEP):
        problem = "values over time steps do not fit one value a request"
    elif (given.kind is Kind.BYTES) != (wanted.kind is Kind.BYTES):
        problem = "bytes are no numbers"
    elif given.kind.dtype.kind == "f" and wanted.kind.dtype.kind != "f":
        problem = "numbers with fractions are not whole; put an argmax between, for one"
    elif not _same_shape(given.shape, wanted.shape):
        problem = "the shapes differ"
    if problem:
        raise UserError(f"{where}: {given} arrives, and it takes {wanted}: {problem}")


def _same_shape(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(given) == len(wanted) and all(-1 in (a, b) or a == b for a, b in zip(given, wanted, strict=True))


def declared(name: str, datatype: str, shape: tuple[int, ...]) -> Signal:
    """The type that a chain says of an input. Raises `UnknownName` for a datatype that there is not."""
    if datatype not in _DATATYPES:
        raise UnknownName(f"input {name!r}: {UnknownName.among('datatype', datatype, _DATATYPES)}")
    return Signal(shape, _DATATYPES[datatype], Clock.REQUEST)


_DATATYPES: Mapping[str, Kind] = {
    "BYTES": Kind.BYTES, "BOOL": Kind.BOOL, "FP32": Kind.VALUE, "INT64": Kind.INDEX, "INT32": Kind.INT32, "UINT8": Kind.UINT8,
    "FP16": Kind.FLOAT16, "FP64": Kind.FLOAT64, "INT8": Kind.INT8, "INT16": Kind.INT16, "UINT16": Kind.UINT16, "UINT32": Kind.UINT32,
    "UINT64": Kind.UINT64,
}  # fmt: skip
"""What the Open Inference Protocol calls the types of inputs."""
