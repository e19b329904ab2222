"""Ways for spikes that an axon entry cannot name: beyond ±15 hops, or past a dead link, over relay cores."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.linked import Linked
from synfire.devices.darwin3.mesh import route
from synfire.devices.darwin3.place import nearest
from synfire.devices.darwin3.site import PORT_AT, Site
from synfire.devices.darwin3.words import MOST_DENDRITES, Coordinate
from synfire.ops import Array

Way = tuple[Coordinate, ...]
"""Relay cores in the order in which a spike passes them."""


class NoWay(UserError):
    """Raised when no relays bring the spikes of a core to another: the piece on one of them has to move."""

    def __init__(self, source: Coordinate, target: Coordinate, message: str) -> None:
        super().__init__(message)
        self.ends = (source, target)


class Paths:
    """Which cores reach which without a relay, on a mesh with dead links."""

    def __init__(self, site: Site) -> None:
        self.limits, self.health = site.limits, site.health
        self.cut = frozenset(site.health.dead_links)
        self.site = site

    @functools.cached_property
    def free(self) -> list[Coordinate]:
        """The healthy cores that nobody else uses."""
        return self.site.free()

    def direct(self, source: Coordinate, target: Coordinate) -> bool:
        """Whether an axon entry at `source` brings spikes to `target`."""
        if source != PORT_AT and not self.limits.within_reach(source, target):
            return False
        return not self.cut or not self.cut.intersection(route(source, target))

    def between(self, core: Coordinate, sources: Iterable[Coordinate], targets: Iterable[Coordinate]) -> bool:
        """Whether a core hears all its sources and reaches all its targets."""
        return all(self.direct(each, core) for each in sources) and all(self.direct(core, each) for each in targets)

    def exit(self, core: Coordinate) -> Coordinate:
        """The nearest place off the mesh, one that the core's spikes get to without a relay if there is any."""
        x, y = core
        exits = [(-1, y), (self.limits.width or 0, y), (x, -1), (x, self.limits.height or 0)]
        near = nearest([(core, 1.0)], exits)
        return next((each for each in near if self.direct(core, each)), near[0])


class Relays:
    """The ways of one linking. Those of the linking before stay where they still lead, and so do their relays' words."""

    def __init__(self, paths: Paths, taken: Iterable[Coordinate], before: Linked | None) -> None:
        self.paths = paths
        self.ways: dict[tuple[Coordinate, Coordinate], Way] = {}
        self.forwarded: dict[Coordinate, dict[tuple[Coordinate, int], int]] = {}
        self._before = before
        self._taken = set(taken)

    @functools.cached_property
    def _free(self) -> list[Coordinate]:
        return [core for core in self.paths.free if core not in self._taken]

    def connect(self, source: Coordinate, target: Coordinate) -> None:
        """Make sure that there is a way. Raises `UserError` with the numbers when there is none."""
        if (source, target) in self.ways or self.paths.direct(source, target):
            return
        way = self._known(source, target) or self._found(source, target)
        self.ways[source, target] = way
        for relay in way:
            lines = self._before.forwarded.get(relay, {}) if self._before else {}
            self.forwarded.setdefault(relay, dict(lines))

    def forward(self, source: Coordinate, target: Coordinate, dendrites: Array) -> tuple[Coordinate, Array]:
        """The core and its dendrites to which `source` sends what is meant for dendrites of `target`; −1 stays −1."""
        for relay in reversed(self.ways.get((source, target), ())):
            lines = self.forwarded[relay]
            dendrites = np.array(
                [-1 if d < 0 else lines.setdefault((target, d), len(lines)) for d in dendrites.tolist()]
            )
            self._require_room(relay, len(lines))
            target = relay
        return target, dendrites

    def _known(self, source: Coordinate, target: Coordinate) -> Way | None:
        """The way of before, if it still leads there."""
        way = self._before.relays.get((source, target)) if self._before else None
        if way is None or not set(way) <= set(self._free):
            return None
        return way if all(self.paths.direct(a, b) for a, b in itertools.pairwise((source, *way, target))) else None

    def _found(self, source: Coordinate, target: Coordinate) -> Way:
        """As few relays as possible; cores that relay already come first, then those that are nearest."""
        near = nearest([(source, 1.0), (target, 1.0)], self._free)
        left = dict.fromkeys(sorted(near, key=lambda core: core not in self.forwarded))
        ways: list[Way] = [()]
        while ways:
            longer: list[Way] = []
            for way in ways:
                end = way[-1] if way else source
                if self.paths.direct(end, target):
                    return way
                reached = [core for core in left if self.paths.direct(end, core)]
                longer += [(*way, core) for core in reached]
                for core in reached:
                    del left[core]
            ways = longer
        raise NoWay(
            source,
            target,
            f"core {source} cannot send to core {target}: they are {abs(source[0] - target[0])} and "
            f"{abs(source[1] - target[1])} hops apart in x and y, an axon reaches {self.paths.limits.reach}, and none of "
            f"{len(self._free)} free cores relays between them past {len(self.paths.cut)} dead links; free cores nearer by, "
            "or use another chip",
        )

    def _require_room(self, relay: Coordinate, lines: int) -> None:
        room = min(MOST_DENDRITES, (self.paths.limits.axon_words or 0) - 1)
        if lines > room:
            raise UserError(
                f"relay core {relay} would forward {lines} dendrites and has room for {room}; use another chip"
            )
