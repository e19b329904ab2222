"""Which of the free chips a container is better off with: those that are near each other. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from synfire.base.errors import UserError
from synfire.kubernetes.device_plugin.report import Place

TRIED = 20_000
"""So many choices are all looked at; beyond, groups are grown from each chip, which may miss the best."""


def preferred(available: Sequence[str], included: Sequence[str], size: int, places: Mapping[str, Place]) -> list[str]:
    """`size` of the available devices, the `included` ones among them, with the fewest hops from each to each.

    Hops are along x and then along y; parts of one chip have none. Ties go to the first in `available`. Raises `UserError`
    when that cannot be.
    """
    if unknown := [each for each in (*available, *included) if each not in places]:
        raise UserError(f"there is no device {unknown[0]!r} here; there are {', '.join(places)}")
    if not len(included) <= size <= len(available) or not set(included) <= set(available):
        raise UserError(
            f"{size} of {len(available)} available devices, {len(included)} of them given, cannot be chosen; "
            "ask for as many as are available, and include only those"
        )
    free = [each for each in dict.fromkeys(available) if each not in included]
    rest = size - len(included)
    if math.comb(len(free), rest) <= TRIED:
        choices = [[*included, *each] for each in itertools.combinations(free, rest)]
    else:
        choices = [_grown([*included, first], free, size, places) for first in free]
    return min(choices, key=lambda chosen: _hops(chosen, places))


def _grown(chosen: list[str], free: Sequence[str], size: int, places: Mapping[str, Place]) -> list[str]:
    """The group with the nearest device added, again and again."""
    left = [each for each in free if each not in chosen]
    while len(chosen) < size:
        nearest = min(left, key=lambda each: sum(_between(each, other, places) for other in chosen))
        chosen = [*chosen, nearest]
        left.remove(nearest)
    return chosen


def _hops(chosen: Sequence[str], places: Mapping[str, Place]) -> int:
    return sum(_between(one, other, places) for one, other in itertools.combinations(chosen, 2))


def _between(one: str, other: str, places: Mapping[str, Place]) -> int:
    (x0, y0), (x1, y1) = places[one], places[other]
    return abs(x0 - x1) + abs(y0 - y1)
