"""The functions of templates: Go's own that prompts use, and `json` and `currentDate`, which Ollama adds."""

from __future__ import annotations

import datetime
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synfire.base.errors import UserError

MOST_TEXT = 1 << 24


def true(value: Any) -> bool:
    """Whether a value counts as true: any but `false`, 0, nil, and what is empty."""
    return bool(value)


def text_of(value: Any) -> str:
    """The value as it is printed."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{text_of(value[key])}" for key in sorted(value)) + "]"
    return "[" + " ".join(text_of(each) for each in value) + "]"


def _equal(first: Any, *others: Any) -> bool:
    return any(first == each for each in others)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Sequence) and isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        else:
            raise UserError(f"index {key!r} is none of a value of {_size(value)}")
    return value


def _slice(value: Any, first: Any = 0, last: Any = None) -> Any:
    end = _size(value) if last is None else last
    if not (isinstance(first, int) and isinstance(end, int) and 0 <= first <= end <= _size(value)):
        raise UserError(f"slice {first}:{end} is none of a value of {_size(value)}")
    return value[first:end]


def _size(value: Any) -> int:
    if not isinstance(value, (str, Sequence, Mapping)):
        raise UserError(f"{text_of(value)} has no length")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=text_of)


def _format(pattern: Any, *values: Any) -> str:
    """`printf`, with the verbs that have a meaning for any value."""
    found, left = "", list(values)
    pieces = iter(str(pattern).split("%"))
    found = next(pieces)
    for piece in pieces:
        verb = piece[:1]
        if not verb:  # "%%" leaves an empty piece between its signs
            found += "%" + next(pieces, "")
            continue
        if verb not in "vsdq" or not left:
            raise UserError(f"printf {pattern!r}: %{verb} is not known, or has no value; use %s, %v, %d or %q")
        value = left.pop(0)
        found += (json.dumps(text_of(value), ensure_ascii=False) if verb == "q" else text_of(value)) + piece[1:]
    return found


def _compared(how: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(one: Any, other: Any) -> bool:
        try:
            return how(one, other)
        except TypeError as error:
            raise UserError(f"{text_of(one)} and {text_of(other)} cannot be compared") from error

    return compare


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *values: next((each for each in values if not true(each)), values[-1]),
    "or": lambda *values: next((each for each in values if true(each)), values[-1]),
    "not": lambda value: not true(value),
    "eq": _equal,
    "ne": lambda one, other: one != other,
    "lt": _compared(operator.lt),
    "le": _compared(operator.le),
    "gt": _compared(operator.gt),
    "ge": _compared(operator.ge),
    "len": _size,
    "index": _index,
    "slice": _slice,
    "print": lambda *values: "".join(map(text_of, values)),
    "println": lambda *values: " ".join(map(text_of, values)) + "\n",
    "printf": _format,
    "json": _json,
    "currentDate": lambda *_: datetime.date.today().isoformat(),
}

LAZY = {"and": False, "or": True}
"""Functions that look at their arguments one after the other, and end at the first that is this."""
