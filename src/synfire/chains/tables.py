"""What a file's content holds, checked as it is looked at; errors say where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from synfire.base.errors import UserError

Table = Mapping[str, Any]


def table_of(raw: object, where: str, known: Collection[str] = ()) -> Table:
    """A table, whose keys are checked where some are `known`. Raises `UserError`."""
    if not isinstance(raw, Mapping):
        raise UserError(f"{where} is {raw!r}; it is a table")
    if known:
        check_known(raw, known, where)
    return raw


def list_of(raw: object, where: str, least: int = 1) -> Sequence[Any]:
    """A list of so many items at `least`. Raises `UserError`."""
    if not isinstance(raw, list) or len(raw) < least:
        raise UserError(f"{where} is {raw!r}; it is a list" + (" that is not empty" if least else ""))
    return raw


def text_of(raw: object, where: str) -> str:
    """A text. Raises `UserError`."""
    if not isinstance(raw, str):
        raise UserError(f"{where} is {raw!r}; it is a text")
    return raw


def check_known(table: Table, known: Collection[str], where: str) -> None:
    """Raise `UserError` for a key that is not known, with the nearest that is."""
    for key in table:
        if key not in known:
            raise UserError(f"{where} knows no {key!r}{nearest(key, known)}; it has {', '.join(dict.fromkeys(known))}")


def nearest(name: str, known: Collection[str]) -> str:
    """The nearest known name, in words; nothing where none is near."""
    near = difflib.get_close_matches(name, known, 1)
    return f", but {near[0]!r}" if near else ""


def converted(raw: object, kind: Any, where: str) -> Any:
    """The value as a `kind` that msgspec knows. Raises `UserError`."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {error}") from error


def is_number(raw: object) -> bool:
    """Whether it is a number, and no truth."""
    return isinstance(raw, (int, float)) and not isinstance(raw, bool)
