"""Which core takes a piece that lost its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.linkable import PieceName
from synfire.devices.darwin3.relays import Paths
from synfire.devices.darwin3.site import PORT_AT, Site
from synfire.devices.darwin3.symbols import Symbols, label
from synfire.devices.darwin3.words import Coordinate
from synfire.ops import Array


def spare_core(
    table: Symbols, piece: PieceName, places: Mapping[PieceName, Coordinate], site: Site, taken: Iterable[Coordinate]
) -> Coordinate:
    """The free core nearest to a piece's neighbours that is large enough, one that needs no relay if there is any.

    Near is Σ spikes × hops; ties by coordinate. Raises `UserError` when no free core is large enough.
    """
    cores = _large(table, piece, site, taken)
    dead = set(site.health.dead_cores)
    heard = [places[each] for name in table.sources(piece[0]) for each in table.pieces(name) if each != piece]
    reached = [places[each] for each in table.targets[piece[0]] if each != piece]
    heard, reached = ([core for core in each if core not in dead] for each in (heard, reached))
    near = np.lexsort([_costs(table, piece, places, dead, cores), ~_within(cores, heard + reached, site.limits.reach)])
    if not site.health.dead_links:
        return _coordinate(cores[near[0]])
    paths, ordered = Paths(site), [_coordinate(each) for each in cores[near]]
    heard += [PORT_AT] if table.fed(piece[0]) else []
    return next((core for core in ordered if paths.between(core, heard, reached)), ordered[0])


def _large(table: Symbols, piece: PieceName, site: Site, taken: Iterable[Coordinate]) -> Array:
    """`(core, 2)`: the free cores that are large enough, by coordinate."""
    needed, grid = table.dendrite_words(piece), site.limits.room_grid.copy()
    for core in (*taken, *site.occupied, *site.health.dead_cores):
        grid[core] = -1
    large = np.argwhere(grid >= needed)
    if not len(large):
        raise UserError(
            f"no spare core can take {label(piece)}, which needs {needed} dendrite words: {int((grid >= 0).sum())} smaller "
            "cores are free; free a larger one, or use another chip"
        )
    return large


def _within(cores: Array, ends: Sequence[Coordinate], reach: int | None) -> Array:
    """Which cores reach, and are reached by, all ends without a relay, if no link is dead."""
    if reach is None or not ends:
        return np.ones(len(cores), np.bool_)
    at = np.array(ends)
    return ((cores >= at.max(axis=0) - reach) & (cores <= at.min(axis=0) + reach)).all(axis=1)


def _costs(
    table: Symbols, piece: PieceName, places: Mapping[PieceName, Coordinate], dead: Set[Coordinate], cores: Array
) -> Array:
    """What having the piece there would cost: Σ spikes × hops to the living cores that it exchanges spikes with."""
    pulls = [(PORT_AT if other is None else places[other], spikes) for other, spikes in table.pulls[piece]]
    pulls = [(core, spikes) for core, spikes in pulls if core not in dead]
    if not pulls:
        return np.zeros(len(cores))
    at, spikes = np.array([core for core, _ in pulls]), np.array([each for _, each in pulls])
    line = np.arange(int(cores.max()) + 1)[:, None]
    across, along = (np.abs(line - at[:, axis]) @ spikes for axis in (0, 1))
    return np.asarray(across[cores[:, 0]] + along[cores[:, 1]])


def _coordinate(core: Array) -> Coordinate:
    return int(core[0]), int(core[1])
