"""What a fault costs, instead of a recompile: the linking before, with the pieces that died somewhere else.

When a core dies, its piece goes to a spare core with axon words for its new place, and in the cores that send to it the entries
that named the old core name the new one. No other word on the chip changes, and no other piece is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synfire.base.errors import UserError
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.link import Places, bind
from synfire.devices.darwin3.linkable import PieceName
from synfire.devices.darwin3.linked import Linked, Loaded, Relinked, changes, turned_off, whole_core
from synfire.devices.darwin3.site import Site
from synfire.devices.darwin3.spare import spare_core
from synfire.devices.darwin3.words import Coordinate


def relink(linked: Linked, health: Health) -> Relinked:
    """Adopt what died by `health`, as the chip reports it: dead cores and dead links.

    Each piece on a dead core, or on one that dead links have cut off, goes to the spare core nearest to its neighbours that is
    large enough, without relays if that can be. Raises `UserError`, and nothing is changed, when there is no such core or no
    way to it.
    """
    places, site = dict(linked.places), replace(linked.site, health=health)
    dead = set(health.dead_cores)
    for piece, core in linked.places.items():
        if core in dead:
            places[piece] = _taker(linked, piece, places, site)
    after = bind(linked.table, site, places, linked)
    moved = {piece: (core, after.places[piece]) for piece, core in linked.places.items() if after.places[piece] != core}
    return Relinked(after, moved, tuple(changes(linked, after)))


def preload(linked: Linked, piece: PieceName) -> Relinked:
    """Write a piece's words on a spare core too, turned off: then its core's death costs one word there, and what names it.

    Raises `UserError` when no spare core is large enough.
    """
    places, taken = dict(linked.places), {*linked.cores, *linked.loaded}
    places[piece] = spare_core(linked.table, piece, places, linked.site, taken)
    image = turned_off(bind(linked.table, linked.site, places, linked).cores[places[piece]])
    after = replace(linked, loaded={**linked.loaded, places[piece]: Loaded(piece, image)})
    return Relinked(after, {}, tuple(whole_core(places[piece], image)))


@dataclass(frozen=True)
class Prepared:
    """A linking, and what each of its cores' death would take, worked out while nothing was wrong."""

    linked: Linked
    cases: Mapping[Health, Relinked]

    def relink(self, health: Health) -> Relinked:
        """The case that was foreseen, or else worked out now. Raises as `relink` does."""
        return self.cases.get(health) or relink(self.linked, health)


def prepare(linked: Linked) -> Prepared:
    """Work out beforehand what relinking around each core with a waiting spare takes: then a fault costs a look-up."""
    now = linked.health
    deaths = (linked.places[each.piece] for each in linked.loaded.values())
    cases = (replace(now, dead_cores=tuple(sorted({*now.dead_cores, core}))) for core in deaths)
    return Prepared(linked, {health: relink(linked, health) for health in cases})


def _taker(linked: Linked, piece: PieceName, places: Places, site: Site) -> Coordinate:
    """The core for a piece whose own is dead: one that waits for it, else a free one, else one that waits for another."""
    waiting, taken = linked.spare_for(piece), {*linked.cores, *places.values()}
    if waiting is not None and waiting not in taken and waiting not in site.health.dead_cores:
        return waiting
    try:
        return spare_core(linked.table, piece, places, site, {*taken, *linked.loaded})
    except UserError:
        return spare_core(linked.table, piece, places, site, taken)
