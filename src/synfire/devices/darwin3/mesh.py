"""The mesh: which links a spike crosses from core to core."""

from __future__ import annotations

import functools

from synfire.base.errors import UserError
from synfire.devices.darwin3.words import Coordinate

Link = tuple[Coordinate, Coordinate]
"""From a router to the next, one hop away."""


@functools.lru_cache(maxsize=2**16)
def route(source: Coordinate, target: Coordinate) -> tuple[Link, ...]:
    """The links from `source` to `target`: along x first, then along y (XY routing, which never deadlocks)."""
    (x, y), links = source, []
    while (x, y) != target:
        here = x, y
        if x != target[0]:
            x += 1 if target[0] > x else -1
        else:
            y += 1 if target[1] > y else -1
        links.append((here, (x, y)))
    return tuple(links)


def require_link(link: Link) -> Link:
    """The link, if its ends are neighbours. Raises `UserError`."""
    (x0, y0), (x1, y1) = link
    if abs(x0 - x1) + abs(y0 - y1) != 1:
        raise UserError(
            f"a mesh link joins neighbours, and {link[0]} and {link[1]} are none; name two that are one hop apart"
        )
    return link
