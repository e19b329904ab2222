"""Where a stage may be put: a chip in some health, of which others use a part."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.words import Coordinate

WELL = Health()

PORT_AT: Coordinate = (0, 0)
"""Where events from outside enter the mesh; they may name any core, however far."""


@dataclass(frozen=True)
class Site:
    """A chip's limits, what it reports as broken, and the cores that others use."""

    limits: ChipLimits
    health: Health = WELL
    occupied: frozenset[Coordinate] = frozenset()

    def free(self) -> list[Coordinate]:
        """The healthy cores that nobody uses, row by row."""
        taken = {*self.occupied, *self.health.dead_cores}
        return [core for core in self.limits.rooms if core not in taken]

    def room(self, core: Coordinate) -> int:
        """The dendrite words of a core."""
        return self.limits.rooms[core]
