"""Numbers between bounds, as a grammar in llama.cpp's notation (GBNF).

A range of whole numbers is told digit by digit: 17 to 254 is `"1" [7-9]`, `[2-9] [0-9]`, `"1" [0-9]{2}`, `"2" ([0-4] [0-9] | "5" [0-4])`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MOST_DIGITS = 16
"""Of a number without a bound: as many as a float64 holds."""

_FRACTION = '("." [0-9]{1,16})?'
_ZEROS = '("." "0"{1,16})?'


def whole(low: int | None, high: int | None) -> str:
    """Whole numbers from `low` to `high`, both included; None is no bound."""
    return _any(list(_signed(low, high)))


def decimal(low: int | None, high: int | None) -> str:
    """Numbers from `low` to `high`, both included: with a fraction behind all whole ones that are not the outer bound."""
    if low is not None and low == high:
        return f'"{low}" {_ZEROS}'
    outer = [
        bound for bound in (low if (low or 0) < 0 else None, high if (high or 0) >= 0 else None) if bound is not None
    ]
    return _any([*(f"{each} {_FRACTION}" for each in _parts(low, high)), *(f'"{each}" {_ZEROS}' for each in outer)])


def _parts(low: int | None, high: int | None) -> Iterator[str]:
    """Whole parts behind which any fraction lies within the bounds: it leads away from 0."""
    if high is None or high > 0:
        yield from _from_zero(max(low or 0, 0), None if high is None else high - 1)
    if low is None or low < 0:
        most = None if low is None else -low - 1
        yield from (f'"-" ({each})' for each in _from_zero(max(-(high or 0), 0), most))


def _signed(low: int | None, high: int | None) -> Iterator[str]:
    if high is None or high >= 0:
        yield from _from_zero(max(low or 0, 0), high)
    if low is None or low < 0:
        most = None if low is None else -low
        yield from (f'"-" ({each})' for each in _from_zero(max(-(high or 0), 1), most))


def _from_zero(low: int, high: int | None) -> Iterator[str]:
    """Whole numbers from `low`, 0 or more, on: those of each count of digits by themselves."""
    last = len(str(low)) if high is None else len(str(high))
    for count in range(len(str(low)), last + 1):
        least = max(low, 10 ** (count - 1) if count > 1 else 0)
        most = 10**count - 1 if high is None else min(high, 10**count - 1)
        if least <= most:
            yield _digits(str(least), str(most))
    if high is None and last < MOST_DIGITS:
        yield f"[1-9] [0-9]{{{last},{MOST_DIGITS - 1}}}"


def _digits(low: str, high: str) -> str:
    """Digits between two numbers of as many digits."""
    count = len(low)
    if low == "0" * count and high == "9" * count:
        return f"[0-9]{{{count}}}" if count > 1 else "[0-9]" if count else '""'
    if count == 1:
        return _digit(int(low), int(high))
    first, last = int(low[0]), int(high[0])
    if first == last:
        return f'"{first}" {_digits(low[1:], high[1:])}'
    nines, zeros = "9" * (count - 1), "0" * (count - 1)
    found = []
    if low[1:] != zeros:
        found.append(f'"{first}" {_digits(low[1:], nines)}')
        first += 1
    whole_to = last if high[1:] == nines else last - 1
    if first <= whole_to:
        found.append(f"{_digit(first, whole_to)} {_digits(zeros, nines)}")
    if whole_to < last:
        found.append(f'"{last}" {_digits(zeros, high[1:])}')
    return _any(found)


def _digit(low: int, high: int) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"


def _any(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"
