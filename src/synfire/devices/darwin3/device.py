"""darwin3 as the planner sees it: one emulated chip."""

from __future__ import annotations

from collections.abc import Mapping

from synfire.devices.cores import Cores
from synfire.devices.darwin3.allotted import share
from synfire.devices.darwin3.compile import cores_of, events_of
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.refusals import refusals
from synfire.devices.device import DEVICES, Description, Device
from synfire.graph import Graph


class Darwin3(Device):
    """An emulated chip; there is always one, and it has no driver.

    `memory_bytes` is what its dendrite memories hold, of all cores that host neurons, without axons and state.
    """

    name = "darwin3"

    def describe(self) -> Description:
        limits = chip(self.name)
        words = limits.dendrite_words or {}
        held = sum(words[limits.kind_at(*core)] for core in limits.hosts())
        return Description(self.name, "darwin3, emulated", limits.cores, held * 6, ("emulated",))

    def refusals(self, graph: Graph) -> Mapping[str, str]:
        return refusals(graph)

    def room(self) -> Cores:
        """Raises `UserError` for a number of cores, or of events, that is none."""
        return share(chip(self.name))

    def cores(self, graph: Graph) -> Cores:
        return cores_of(graph, chip(self.name))

    def events(self, graph: Graph, density: Mapping[str, float]) -> float:
        return events_of(graph, chip(self.name), density)


DEVICES.add(Darwin3.name, Darwin3())
