"""Binds relocatable images to cores: what a fault costs, instead of a recompile.

All coordinates are in the axon memories, so that is what linking writes; an image's other words are copied as they are. What is
linked again after a fault is in `relink`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from synfire.devices.darwin3.axons import Ends, axon_words, relay_core, renamed
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.linkable import Linkable, PieceName
from synfire.devices.darwin3.linked import Linked
from synfire.devices.darwin3.place import HILBERT, Block, place
from synfire.devices.darwin3.relays import NoWay, Paths, Relays
from synfire.devices.darwin3.site import PORT_AT, WELL, Site
from synfire.devices.darwin3.spare import spare_core
from synfire.devices.darwin3.symbols import Symbols, label, symbols
from synfire.devices.darwin3.words import Coordinate, CoreImage

Places = Mapping[PieceName, Coordinate]


def link(
    linkables: Mapping[str, Linkable], limits: ChipLimits, health: Health = WELL, previous: Linked | None = None
) -> Linked:
    """Place all pieces on healthy cores and write their axons. For a chip that is shared, see `place_pieces` and `bind`.

    With `previous`, pieces of unchanged images stay where they are while that core is healthy. Raises `UserError` for images of
    another chip, unbound slots, too few cores, and for what no relay brings within reach.
    """
    table, site = symbols(linkables, limits), Site(limits, health)
    return bind(table, site, place_pieces(table, site, previous))


def place_pieces(
    table: Symbols, site: Site, previous: Linked | None = None, *, start: str = HILBERT, refine: bool = True
) -> dict[PieceName, Coordinate]:
    """The first half of `link`: a core for every piece."""
    kept = _kept(table, site, previous)
    free = [core for core in site.free() if core not in kept.values()]
    blocks = [Block(label(each), table.dendrite_words(each)) for each in table.all_pieces() if each not in kept]
    fixed = {label(each): core for each, core in kept.items()}
    placed = fixed | place(blocks, table.flows, site.limits, free, start, refine, fixed)
    return {each: placed[label(each)] for each in table.all_pieces()}


def bind(table: Symbols, site: Site, places: Places, before: Linked | None = None) -> Linked:
    """The second half of `link`: the words for a placement. With `before`, only what changed is made anew.

    A piece that no relays connect with another moves to a spare core, once.
    """
    places, stuck = dict(places), set[PieceName]()
    while True:
        try:
            return _bound(table, site, places, before)
        except NoWay as error:
            moving = next((each for each, core in places.items() if core in error.ends and each not in stuck), None)
            if moving is None:
                raise
            stuck.add(moving)
            taken = {*places.values(), *(before.cores if before else ()), *(before.loaded if before else ())}
            places[moving] = spare_core(table, moving, places, site, taken)


def _bound(table: Symbols, site: Site, places: Places, before: Linked | None) -> Linked:
    waiting = before.loaded if before else {}
    relays = Relays(Paths(site), {*places.values(), *waiting}, before)
    touched = _touched(table, site, places, before)
    for source in touched:
        for target in table.targets[source[0]]:
            relays.connect(places[source], places[target])
        _open(table, source, places[source], relays)
    cores = {core: before.cores[core] for piece, core in places.items() if piece not in touched} if before else {}
    cores |= {places[piece]: _core(table, piece, places, relays, before) for piece in touched}
    cores |= {core: relay_core(core, lines, site.limits) for core, lines in relays.forwarded.items()}
    left = {core: each for core, each in waiting.items() if core not in cores and core not in site.health.dead_cores}
    return Linked(table, site, places, relays.ways, relays.forwarded, cores, left)


def _touched(table: Symbols, site: Site, places: Places, before: Linked | None) -> dict[PieceName, None]:
    """The pieces whose words may be others than before: those that moved and those that send to them, or all."""
    if (
        before is None
        or table is not before.table
        or before.relays
        or before.health.dead_links != site.health.dead_links
    ):
        return dict.fromkeys(places)
    moved = [piece for piece, core in places.items() if before.places.get(piece) != core]
    senders = (piece for name, _ in moved for source in table.sources(name) for piece in table.pieces(source))
    return dict.fromkeys([*moved, *senders])


def _open(table: Symbols, piece: PieceName, core: Coordinate, relays: Relays) -> None:
    """Make sure that what the host sends to a piece gets there, and that what leaves it gets out."""
    if not relays.paths.direct(PORT_AT, core):
        for dendrites in table.fed(piece[0]):
            relays.connect(PORT_AT, core)
            relays.forward(PORT_AT, core, dendrites[piece[1]])
    if table.linkables[piece[0]].exported:
        relays.connect(core, relays.paths.exit(core))


def _core(table: Symbols, piece: PieceName, places: Places, relays: Relays, before: Linked | None) -> CoreImage:
    """The words of a piece where it is placed: those of before, if they are, or with other axons."""
    core, image = places[piece], table.linkables[piece[0]].image
    old = before.cores[core] if before and before.has(piece, table.linkables[piece[0]], core) else None
    moved = _moved_readers(table, piece, places, relays, before) if before and old else None
    if old and moved is not None:
        return replace(old, axon=renamed(old.axon, image.neurons(piece[1]), core, moved)) if moved else old
    axon = axon_words(table.lists[piece], core, _ends(table, piece, places, relays), relays.paths.limits)
    return replace(old, axon=axon) if old else image.core(piece[1], axon)


def _ends(table: Symbols, piece: PieceName, places: Places, relays: Relays) -> list[Ends]:
    """Where a piece's spikes go, for each reading and the export."""
    core, made, ends = places[piece], table.lists[piece], []
    for r, each in enumerate(table.readers.get(piece[0], ())):
        sent = [relays.forward(core, places[each.reader, p], row) for p, row in enumerate(each.table)]
        channels = made.channels[:, r]
        dendrites = np.stack([np.where(channels < 0, -1, row[channels]) for _, row in sent], axis=1)
        ends.append(Ends(tuple(first for first, _ in sent), dendrites))
    if piece in table.exports:
        numbers = table.exports[piece] + np.arange(made.own.max() + 1)
        first, numbers = relays.forward(core, relays.paths.exit(core), numbers)
        ends.append(Ends((first,), numbers[made.own][:, None]))
    return ends


def _moved_readers(
    table: Symbols, piece: PieceName, places: Places, relays: Relays, before: Linked
) -> dict[Coordinate, Coordinate] | None:
    """Old and new cores of the readers of a piece that stayed, of those that moved.

    None when its spikes now take other ways, over relays or out of the chip, so that there is more to it than names.
    """
    core, moved = places[piece], dict[Coordinate, Coordinate]()
    for target in table.targets[piece[0]]:
        old, new = before.places.get(target), places[target]
        way, now = before.relays.get((core, old)) if old else None, relays.ways.get((core, new))
        if old is None or way != now or (way and old != new):
            return None
        if old != new:
            moved[old] = new
    if piece in table.exports:
        end = relays.paths.exit(core)
        if before.health.dead_links != relays.paths.health.dead_links:
            return None
        if before.relays.get((core, end)) != relays.ways.get((core, end)):
            return None
    return moved


def _kept(table: Symbols, site: Site, previous: Linked | None) -> dict[PieceName, Coordinate]:
    """Pieces of before that can stay where they are."""
    if previous is None:
        return {}
    free = set(site.free())
    return {
        piece: core
        for piece, core in previous.places.items()
        if core in free
        and piece[0] in table.linkables
        and table.linkables[piece[0]].image == previous.linkables[piece[0]].image
    }
