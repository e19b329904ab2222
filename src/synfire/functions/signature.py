"""What a function's annotations say of its inputs and outputs."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.functions.slot import PLAIN, Array, Slot, numbers

OUTPUT = "output"
"""What the only output of a function is called, which has no name of its own."""

_KNOWN = (
    "str, bytes, bool, int, float, a list of one of these, a number of numpy such as np.float32, or an array with its shape, such as "
    'Annotated[NDArray[np.float32], 3, "points"]'
)


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a function takes and gives. `one` says that its value is the only output, and no record of several."""

    where: str
    takes: tuple[Slot, ...]
    gives: tuple[Slot, ...]
    one: bool

    def arguments(self, arrays: Mapping[str, Array], axes: dict[str, int]) -> dict[str, Any]:
        """The function's arguments. Open axes by their names go into `axes`. Raises `UserError` for what does not fit."""
        return {each.name: each.value(arrays[each.name], axes) for each in self.takes}

    def outputs(self, value: Any, axes: dict[str, int]) -> dict[str, Array]:
        """What the function gave, as arrays. Raises `TypeError` where that is not what its annotation says."""
        if self.one:
            return {OUTPUT: self.gives[0].array(value, axes)}
        try:
            return {each.name: each.array(getattr(value, each.name), axes) for each in self.gives}
        except AttributeError as error:
            names = ", ".join(each.name for each in self.gives)
            raise TypeError(f"it gave {type(value).__name__}, and its annotation says a record of {names}") from error


def signature_of(function: Callable[..., Any]) -> Signature:
    """What the function takes and gives. Raises `UserError`, which names the parameter, for what cannot be an input or an output."""
    where = f"operator {getattr(function, '__qualname__', function)}"
    if not inspect.isfunction(function):
        raise UserError(f"{where} is no function; write one with def or async def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UserError(f"{where} is a generator, and an answer is given whole; return a list instead of yielding")
    hints = _hints(where, function)
    takes = tuple(
        _slot(f"{where}, parameter {each.name!r}", each.name, hints.get(each.name))
        for each in inspect.signature(function).parameters.values()
        if _is_input(where, each)
    )
    if not takes:
        raise UserError(f"{where} takes no input, so there is nothing to ask it; give it a parameter without a default")
    gives, one = _gives(where, hints.get("return"))
    return Signature(where, takes, gives, one)


def _hints(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # whatever evaluating the user's words raises
        raise UserError(
            f"{where}: its annotations cannot be read ({type(error).__name__}: {error}); define what they name before it"
        ) from error


def _is_input(where: str, parameter: inspect.Parameter) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise UserError(
            f"{where}, parameter {parameter}: inputs go by their names; write them one by one, without * and /"
        )
    return parameter.default is parameter.empty


def _gives(where: str, hint: Any) -> tuple[tuple[Slot, ...], bool]:
    fields = _fields(hint)
    if fields is None:
        return (_slot(f"{where}, its return value", OUTPUT, hint),), True
    if not fields:
        raise UserError(
            f"{where} returns {hint.__name__}, which has no field, so there is nothing to answer; give it one"
        )
    return tuple(
        _slot(f"{where}, field {name!r} of {hint.__name__}", name, each) for name, each in fields.items()
    ), False


def _fields(hint: Any) -> dict[str, Any] | None:
    """The annotations of a record's fields; None for what is none."""
    if not isinstance(hint, type):
        return None
    named = getattr(hint, "_fields", None) if issubclass(hint, tuple) else None
    names = [each.name for each in dataclasses.fields(hint)] if dataclasses.is_dataclass(hint) else named
    if names is None:
        return None
    hints = typing.get_type_hints(hint, include_extras=True)
    return {name: hints.get(name) for name in names}


def _slot(where: str, name: str, hint: Any) -> Slot:
    if hint is None:
        raise UserError(f"{where} has no annotation; say what it is: {_KNOWN}")
    if hint in PLAIN:
        return PLAIN[hint](name)
    if isinstance(hint, type) and issubclass(hint, np.generic):
        return Slot(name, numbers(where, hint), (), "number")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list and arguments and arguments[0] in PLAIN:
        one = PLAIN[arguments[0]](name)
        return dataclasses.replace(one, shape=(-1,), form=f"list of {one.form}")
    if origin is typing.Annotated and typing.get_origin(arguments[0]) is np.ndarray:
        return Slot(name, numbers(where, _number(arguments[0])), _shape(where, arguments[1:]), "array")
    if origin is np.ndarray:
        raise UserError(f'{where} is an array without a shape; say it: Annotated[{_words(hint)}, 3, "points"]')
    raise UserError(f"{where} is {_words(hint)}, which cannot travel; it may be {_KNOWN}")


def _number(array: Any) -> Any:
    """The number that arrays of this annotation hold."""
    return typing.get_args(typing.get_args(array)[1])[0]


def _shape(where: str, axes: Sequence[Any]) -> tuple[int | str, ...]:
    for each in axes:
        if (
            isinstance(each, bool)
            or not isinstance(each, (int, str))
            or each in ("", 0)
            or (isinstance(each, int) and each < 0)
        ):
            raise UserError(f"{where}: {each!r} is no axis; give its size, or a name where it may have any")
    return tuple(axes)


def _words(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
