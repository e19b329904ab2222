"""What of a chip is dead: what its hardware notices, and reports."""

from __future__ import annotations

import time

from synfire.devices.darwin3.faults import ChipDead, CoreDead, Health, LinkDead
from synfire.devices.darwin3.mesh import Link
from synfire.devices.darwin3.words import Coordinate


class Condition:
    """Dead cores, dead links, or a dead chip.

    `health` is the report: the same object as long as nothing changes. `reported_s` is when it last did, on the monotonic
    clock, in seconds.
    """

    def __init__(self) -> None:
        self.alive = True
        self.dead_cores: set[Coordinate] = set()
        self.dead_links: set[Link] = set()
        self.health = Health()
        self.reported_s = time.monotonic()

    def change(self, fault: CoreDead | LinkDead | ChipDead, broken: bool) -> None:
        """Break it, or mend it; and say so, if that is news."""
        if isinstance(fault, ChipDead):
            self.alive = not broken
        elif isinstance(fault, CoreDead):
            (self.dead_cores.add if broken else self.dead_cores.discard)(fault.core)
        else:
            both = {fault.link, fault.link[::-1]}
            self.dead_links = self.dead_links | both if broken else self.dead_links - both
        if (health := self._health()) != self.health:
            self.health, self.reported_s = health, time.monotonic()

    def _health(self) -> Health:
        if not self.alive:
            return Health(alive=False)
        return Health(True, tuple(sorted(self.dead_cores)), tuple(sorted(self.dead_links)))
