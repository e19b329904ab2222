"""Lengths of time as people write them: `5m`, `1h30m`, `300ms`, or seconds; below zero stands for ever."""

from __future__ import annotations

import math
import re

from synfire.base.errors import UserError

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)"
_WHOLE = re.compile(rf"([-+]?)((?:{_PART})+|0)")
_NUMBER = re.compile(r"[-+]?(\d{1,15}(\.\d*)?|\.\d+)")


def parse_duration(given: str | float, what: str = "the duration") -> float:
    """Seconds; `math.inf` for anything below zero. Raises `UserError` that names `what`."""
    seconds = _read(given.strip(), what) if isinstance(given, str) else float(given)
    if math.isnan(seconds):
        raise _wrong(given, what)
    return math.inf if seconds < 0 else seconds


def written(seconds: float) -> str:
    """The duration for people, to the second: `4m59s`, `for ever`."""
    if math.isinf(seconds):
        return "for ever"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def _read(text: str, what: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise _wrong(text, what)
    seconds = sum(float(count) * _UNITS_S[unit] for count, unit in re.findall(_PART, found[2]))
    return -seconds if found[1] == "-" else seconds


def _wrong(given: object, what: str) -> UserError:
    return UserError(
        f"{what} is {given!r}; write it as 5m, 1h30m or 90s, as a number of seconds, or below zero for ever"
    )
