"""Which core takes a piece that lost its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synfire.base.errors import UserError
from synfire.devices.darwin3.linkable import PieceName
from synfire.devices.darwin3.place import PORT, nearest
from synfire.devices.darwin3.relays import Paths
from synfire.devices.darwin3.site import PORT_AT, Site
from synfire.devices.darwin3.symbols import Symbols, label
from synfire.devices.darwin3.words import Coordinate


def spare_core(
    table: Symbols, piece: PieceName, places: Mapping[PieceName, Coordinate], site: Site, taken: Iterable[Coordinate]
) -> Coordinate:
    """The free core nearest to a piece's neighbours that is large enough, one that needs no relay if there is any.

    Raises `UserError` when no free core is large enough.
    """
    needed, taken = table.dendrite_words(piece), set(taken)
    free = [core for core in site.free() if core not in taken]
    large = [core for core in free if site.room(core) >= needed]
    if not large:
        raise UserError(
            f"no spare core can take {label(piece)}, which needs {needed} dendrite words: {len(free)} smaller cores are free; "
            "free a larger one, or use another chip"
        )
    dead = site.health.dead_cores
    living = {each: core for each, core in places.items() if core not in dead and each != piece}
    heard = [living[each] for name in table.sources(piece[0]) for each in table.pieces(name) if each in living]
    heard += [PORT_AT] if table.fed(piece[0]) else []
    reached = [living[each] for each in table.targets[piece[0]] if each in living]
    ordered, paths = nearest(_pulls(table, piece, living), large), Paths(site)
    return next((core for core in ordered if paths.between(core, heard, reached)), ordered[0])


def _pulls(table: Symbols, piece: PieceName, living: Mapping[PieceName, Coordinate]) -> list[tuple[Coordinate, float]]:
    """What draws a piece: the places of all that it exchanges spikes with."""
    at = {label(each): core for each, core in living.items()} | {PORT: (0, 0)}
    own = label(piece)
    return [
        (at[other], spikes)
        for ends, spikes in table.flows.items()
        if own in ends
        for other in ends
        if other != own and other in at
    ]
