"""One input or output of a function: how it travels, as an array, and what the function sees of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synfire.base.errors import UserError

Array = NDArray[Any]

BYTES = "bytes"
NUMBERS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """Arrays of `kind` (a number's name, or `bytes`) and `shape`; the function has them in some `form`.

    An axis has its size, a name where it may have any, or −1 where it needs no name.
    """

    name: str
    kind: str
    shape: tuple[int | str, ...]
    form: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape with −1 for each axis that may have any size."""
        return tuple(each if isinstance(each, int) else -1 for each in self.shape)

    def value(self, array: Array, axes: dict[str, int]) -> Any:
        """What the function is given. Raises `UserError` for text that is none, and for an axis of another size than its namesake."""
        self._agree(array, axes, UserError)
        if self.form == "array":
            return array
        if self.form == "number":
            return array[()]
        values: Any = array.tolist()
        if not self.form.endswith("str"):
            return values
        try:
            return [each.decode() for each in values] if isinstance(values, list) else values.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"input {self.name!r} is no UTF-8 ({error}); the function takes text: send it in that encoding"
            ) from error

    def array(self, value: Any, axes: dict[str, int]) -> Array:
        """What the function gave. Raises `TypeError` for what is not as its annotation says."""
        found = _texts(self, value) if self.kind == BYTES else _numbers(self, value)
        wanted = self.sizes
        if found.ndim != len(wanted) or any(a not in (-1, b) for a, b in zip(wanted, found.shape, strict=True)):
            raise TypeError(
                f"{self.name!r} came with the shape {list(found.shape)}, and its annotation says {list(self.shape)}"
            )
        self._agree(found, axes, TypeError)
        return found

    def _agree(self, array: Array, axes: dict[str, int], error: type[Exception]) -> None:
        for axis, size in zip(self.shape, array.shape, strict=True):
            if isinstance(axis, str) and axes.setdefault(axis, size) != size:
                raise error(f"axis {axis!r} is {size} in {self.name!r}, and {axes[axis]} elsewhere; make them equal")


def numbers(where: str, number: Any) -> str:
    """The name of numpy's number. Raises `UserError` for one that is not served."""
    name = np.dtype(number).name
    if name not in NUMBERS:
        raise UserError(f"{where} is of {name}, and these are served: {', '.join(NUMBERS)}")
    return name


def _plain(name: str, kind: str, form: str) -> Slot:
    return Slot(name, kind, (), form)


PLAIN: Mapping[Any, Callable[[str], Slot]] = MappingProxyType(
    {
        str: partial(_plain, kind=BYTES, form="str"),
        bytes: partial(_plain, kind=BYTES, form="bytes"),
        bool: partial(_plain, kind="bool", form="bool"),
        int: partial(_plain, kind="int64", form="int"),
        float: partial(_plain, kind="float64", form="float"),
    }
)
"""What Python has without numpy."""


def _texts(slot: Slot, value: Any) -> Array:
    wanted = str if slot.form.endswith("str") else bytes
    several = slot.form.startswith("list")
    values = list(value) if several and isinstance(value, (list, tuple)) else [value]
    if (several and not isinstance(value, (list, tuple))) or not all(isinstance(each, wanted) for each in values):
        raise TypeError(f"{slot.name!r} came as {_said(value)}, and its annotation says {slot.form}")
    found = np.empty(len(values), object)
    found[:] = [each.encode() if isinstance(each, str) else each for each in values]
    return found if several else found.reshape(())


def _numbers(slot: Slot, value: Any) -> Array:
    """Whole numbers may stand for broken ones, as in Python; for the rest an array has to be of its own kind."""
    found = np.asarray(value)
    if slot.form in ("array", "number"):
        fits = isinstance(value, (np.ndarray, np.generic)) and found.dtype == slot.kind
    else:
        fits = found.dtype.kind in _BROADER[slot.kind] or not found.size
    if not fits:
        said = f"an array of {found.dtype}" if isinstance(value, np.ndarray) else _said(value)
        raise TypeError(
            f"{slot.name!r} came as {said}, and its annotation says {slot.kind}; convert it with .astype or np.asarray"
        )
    return np.ascontiguousarray(found.astype(slot.kind, copy=False)).reshape(found.shape)


_BROADER = {"bool": "b", "int64": "bi", "float64": "bif"}


def _said(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value:
        return f"{type(value).__name__} of {type(value[0]).__name__}"
    return type(value).__name__
