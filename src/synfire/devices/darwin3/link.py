"""Binds relocatable images to cores: what a fault costs, instead of a recompile.

All coordinates are in the axon memories, so that is what linking writes; an image's other words are copied as they are. When a
core dies, its piece goes to a spare core with axon words for its new place, and in the cores that send to it the entries that
named the old core name the new one. No other word on the chip changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.axons import Ends, axon_words, relay_core
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.linkable import Linkable, PieceName
from synfire.devices.darwin3.linked import Linked, Loaded, Relinked, changes, turned_off, whole_core
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


def relink(linked: Linked, health: Health) -> Relinked:
    """Adopt what died by `health`, as the chip reports it: dead cores and dead links.

    Each piece on a dead core, or on one that dead links have cut off, goes to the spare core nearest to its neighbours that is
    large enough, without relays if that can be. Raises `UserError`, and nothing is changed, when there is no such core or no
    way to it.
    """
    places, site = dict(linked.places), replace(linked.site, health=health)
    for piece, core in linked.places.items():
        if core in health.dead_cores:
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


def _taker(linked: Linked, piece: PieceName, places: Places, site: Site) -> Coordinate:
    """The core for a piece whose own is dead: one that waits for it, else a free one, else one that waits for another."""
    waiting, taken = linked.spare_for(piece), {*linked.cores, *places.values()}
    if waiting is not None and waiting not in taken and waiting not in site.health.dead_cores:
        return waiting
    try:
        return spare_core(linked.table, piece, places, site, {*taken, *linked.loaded})
    except UserError:
        return spare_core(linked.table, piece, places, site, taken)


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
    relays = Relays(Paths(site), {*places.values(), *(before.loaded if before else ())}, before)
    settled = _settled(site, places, before)
    for name in table.linkables:
        for source in table.pieces(name):
            for target in table.targets[name]:
                if source not in settled or target not in settled:
                    relays.connect(places[source], places[target])
            _open(table, source, places[source], relays)
    cores = {core: _core(table, piece, places, relays, before) for piece, core in places.items()}
    cores |= {core: relay_core(core, lines, site.limits) for core, lines in relays.forwarded.items()}
    loaded = before.loaded if before else {}
    left = {core: each for core, each in loaded.items() if core not in cores and core not in site.health.dead_cores}
    return Linked(table, site, places, relays.ways, relays.forwarded, cores, left)


def _settled(site: Site, places: Places, before: Linked | None) -> frozenset[PieceName]:
    """Pieces between which every spike goes as it went before, without relays."""
    if before is None or before.relays or before.health.dead_links != site.health.dead_links:
        return frozenset()
    return frozenset(piece for piece, core in places.items() if before.places.get(piece) == core)


def _open(table: Symbols, piece: PieceName, core: Coordinate, relays: Relays) -> None:
    """Make sure that what the host sends to a piece gets there, and that what leaves it gets out."""
    for dendrites in table.fed(piece[0]):
        relays.connect(PORT_AT, core)
        relays.forward(PORT_AT, core, dendrites[piece[1]])
    if table.linkables[piece[0]].exported:
        relays.connect(core, relays.paths.exit(core))


def _core(table: Symbols, piece: PieceName, places: Places, relays: Relays, before: Linked | None) -> CoreImage:
    """The words of a piece where it is placed: those of before, if they are, or with other axons."""
    core, linkable = places[piece], table.linkables[piece[0]]
    old = before.cores[core] if before and before.has(piece, linkable, core) else None
    if before and old and _untouched(table, piece, places, relays, before):
        return old
    axon = axon_words(table.lists[piece], core, _ends(table, piece, places, relays), relays.paths.limits)
    return replace(old, axon=axon) if old else linkable.image.core(piece[1], axon)


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


def _untouched(table: Symbols, piece: PieceName, places: Places, relays: Relays, before: Linked) -> bool:
    """Whether the readers of a piece that stayed are where they were, and so are the ways to them and out."""
    core = places[piece]
    ends = [places[target] for target in table.targets[piece[0]]]
    if piece in table.exports:
        if before.health.dead_links != relays.paths.health.dead_links:
            return False
        ends.append(relays.paths.exit(core))
    return all(before.places.get(target) == places[target] for target in table.targets[piece[0]]) and all(
        before.relays.get((core, end)) == relays.ways.get((core, end)) for end in ends
    )


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
