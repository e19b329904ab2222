"""Routes between the cores in use: their numbers, their links, and what they end at."""

from __future__ import annotations

import numpy as np

from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.mesh import Link, route
from synfire.devices.darwin3.words import Coordinate
from synfire.ops import Array

LOST, SINK = -1, -2
"""Instead of a core's number: where nothing listens; outside."""

DATA_PORT: Coordinate = (0, 0)
"""Where events from outside enter the mesh, and spikes for outside leave it (the place is assumed)."""


class Routes:
    """The routes in use, numbered as they turn up; a route across a cut link ends there."""

    def __init__(self, limits: ChipLimits, live: tuple[Coordinate, ...], cut: set[Link]) -> None:
        self.limits = limits
        self.cut = cut
        self.links: list[list[int]] = []
        self.ends: list[Coordinate] = []
        self.numbers: dict[Link, int] = {}
        self._known: dict[tuple[Coordinate, Coordinate], int] = {}
        self._broken: set[int] = set()
        self._slots = {at: slot for slot, at in enumerate(live)}

    def number(self, source: Coordinate, target: Coordinate) -> int:
        """The number of the route between two coordinates."""
        known = self._known.get((source, target))
        if known is not None:
            return known
        number = self._known[source, target] = len(self.links)
        crossed: list[int] = []
        for link in route(source, self._edge(target)):
            if link in self.cut:
                self._broken.add(number)
                break
            crossed.append(self.numbers.setdefault(link, len(self.numbers)))
        self.links.append(crossed)
        self.ends.append(target)
        return number

    def is_cut(self, number: int) -> bool:
        """Whether a dead link lies on that route."""
        return number in self._broken

    def targets(self, source: Coordinate, hops: Array) -> Array:
        """`(hop, 2)`: what lies (dx, dy) away from a core (a core's number, LOST or SINK), and the number of the route to it."""
        found = [self._target(source, (source[0] + dx, source[1] + dy)) for dx, dy in hops.tolist()]
        return np.array(found, np.int32).reshape(-1, 2)

    def _target(self, source: Coordinate, target: Coordinate) -> tuple[int, int]:
        number = self.number(source, target)
        if self.is_cut(number):
            return LOST, number
        if target == DATA_PORT or not self.limits.on_mesh(*target):
            return SINK, number
        return self._slots.get(target, LOST), number

    def _edge(self, target: Coordinate) -> Coordinate:
        """The router of the mesh that is nearest: where spikes for a place beyond the edge leave."""
        return (
            min(max(target[0], 0), (self.limits.width or 1) - 1),
            min(max(target[1], 0), (self.limits.height or 1) - 1),
        )
