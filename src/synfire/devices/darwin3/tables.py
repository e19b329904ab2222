"""What a chip's words mean, decoded once and used by the compiled loops until a word changes.

Everything here comes from the words: what was written wrongly, or flipped, runs wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.core import Core, Decoded
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.mesh import Link
from synfire.devices.darwin3.neurons import State
from synfire.devices.darwin3.routes import DATA_PORT, LOST, SINK, Routes
from synfire.devices.darwin3.words import Coordinate, Words, read_dendrite_heads
from synfire.devices.darwin3.words import Kind as DendriteKind
from synfire.ops import Array

LIVE = State.MEMBRANE, State.CURRENT, State.RESIDUE
"""The sections of a neuron's state that change as it runs."""

CYCLES_PER_HOP = 2
"""Clock cycles that a link needs for one spike, which is two flits (assumed)."""


class Tables(NamedTuple):
    """Flat arrays over the cores in use, in ascending coordinate; `x_at[c]` is where core c's part of `x` begins.

    Per core: `neurons`, `model`, `parameters` (P0 … P4, RESET, V_RESET), `per_word` weights, `cycles` that updating its neurons
    takes, `leaves` (whether its spikes may leave the chip), the route from the data port and whether that is cut. Per neuron:
    `core_of`, `threshold`, `head`: its first entry (−1: none), `head_index`. Per axon entry: target core (or LOST, SINK), route,
    dendrite, the entry where a relay goes on (−1: none), last. Per route: the links, as numbers. `longest` is the most entries of
    a list, `relays` whether any entry leads to a relay.
    """

    neurons: Array
    first: Array
    core_of: Array
    threshold: Array
    model: Array
    parameters: Array
    cycles: Array
    cycles_per_hop: int
    words: Array
    word_at: Array
    lists: Array
    weights: Array
    weight_at: Array
    per_word: Array
    head: Array
    head_index: Array
    entry_at: Array
    entries: Array
    longest: int
    relays: bool
    leaves: Array
    input_route: Array
    input_cut: Array
    route_at: Array
    route_links: Array


class Tally(NamedTuple):
    """Counters per sample; the first two hold the current step and are emptied by `settle`."""

    route_events: Array
    operations: Array
    total_operations: Array
    spikes: Array
    lost: Array
    link_load: Array
    link_peak: Array
    peak_cycles: Array


class Wiring(NamedTuple):
    """The tables of a chip, with the names of their numbers: core c is at `cores[c]`, route r ends at `ends[r]`.

    `grid[x, y]` is the number of the core there, or LOST. `begun` `(3, neuron)` are the membranes, currents and residues that the
    state words say.
    """

    tables: Tables
    cores: tuple[Coordinate, ...]
    grid: Array
    ends: Array
    links: tuple[Link, ...]
    begun: Array


def tally(batch: int, wiring: Wiring) -> Tally:
    """Counters at 0."""
    cores, routes, links = len(wiring.cores), len(wiring.ends), len(wiring.links)
    shapes = ((routes,), (cores,), (cores,), (cores,), (), (links,), (links,), ())
    return Tally(*(np.zeros((batch, *shape), np.int64) for shape in shapes))


def wire(limits: ChipLimits, cores: Mapping[Coordinate, Core], dead: Iterable[Coordinate], cut: set[Link]) -> Wiring:
    """Decode the cores that run. Events for `dead` cores, and those whose route crosses a `cut` link, are lost."""
    dead = set(dead)
    live = tuple(sorted(at for at, core in cores.items() if at not in dead and core.neurons))
    decoded = [cores[at].decoded() for at in live]
    routes = Routes(limits, live, cut)
    inputs = [routes.number(DATA_PORT, at) for at in live]
    words, word_at = _join([each.words for each in decoded], np.uint64), _starts(_sizes(each.words for each in decoded))
    neurons = _sizes(each.threshold for each in decoded)
    entry_at = _starts(_sizes(each.which for each in decoded))
    entries = _entries(routes, live, decoded, entry_at)
    entries[:, 3] = _relays(entries, words, word_at, entry_at, neurons)
    relays = bool(np.any(entries[:, 3] >= 0))
    tables = Tables(
        neurons=neurons,
        first=_starts(neurons),
        core_of=np.repeat(np.arange(len(live)), neurons).astype(np.int32),
        threshold=_join([each.threshold for each in decoded], np.int16),
        model=np.array([each.model for each in decoded], np.int64),
        parameters=np.array([each.parameters for each in decoded], np.int32).reshape(len(live), 7),
        cycles=np.array([each.cycles for each in decoded], np.int64),
        cycles_per_hop=CYCLES_PER_HOP,
        words=words,
        word_at=word_at,
        lists=_join([each.lists for each in decoded], np.uint16),
        weights=_join([each.weights for each in decoded], np.int16),
        weight_at=_starts(_sizes(each.weights for each in decoded)),
        per_word=np.array([each.per_word for each in decoded], np.int64),
        head=_heads(decoded, entry_at),
        head_index=_join([each.index for each in decoded], np.int32),
        entry_at=entry_at,
        entries=entries,
        longest=int(np.diff(np.flatnonzero(entries[:, 4]), prepend=-1).max(initial=1)),
        relays=relays,
        leaves=_leaves(entries, entry_at, relays),
        input_route=np.array(inputs, np.int64),
        input_cut=np.array([routes.is_cut(each) for each in inputs], np.bool_),
        route_at=_starts(np.array([len(each) for each in routes.links], np.int64)),
        route_links=np.array([link for each in routes.links for link in each], np.int64),
    )
    ends = np.array(routes.ends, np.int64).reshape(-1, 2)
    begun = np.stack([_join([cores[at].state(section) for at in live], np.int16) for section in LIVE])
    return Wiring(tables, live, _grid(limits, live), ends, tuple(routes.numbers), begun)


def require_emulated(limits: ChipLimits) -> ChipLimits:
    """The limits, if mesh and memories are known. Raises `UserError`."""
    if not limits.meshed:
        raise UserError(
            f"{limits.name} is known by its limits only, not by its mesh and memories; emulate darwin3 instead"
        )
    return limits


def _heads(decoded: list[Decoded], entry_at: Array) -> Array:
    parts = [
        np.where(each.head >= 0, each.head + start, -1) for each, start in zip(decoded, entry_at[:-1], strict=True)
    ]
    return _join(parts, np.int64)


def _entries(routes: Routes, live: tuple[Coordinate, ...], decoded: list[Decoded], entry_at: Array) -> Array:
    """`(entry, 5)` of all cores; no relays yet."""
    entries = np.full((entry_at[-1], 5), -1, np.int32)
    for at, core, start, end in zip(live, decoded, entry_at[:-1], entry_at[1:], strict=True):
        entries[start:end, :2] = routes.targets(at, core.hops)[core.which]
        entries[start:end, 2] = core.dendrite
        entries[start:end, 4] = core.last
    return entries


def _relays(entries: Array, words: Words, word_at: Array, entry_at: Array, neurons: Array) -> Array:
    """The entry where the relay that an entry leads to goes on; −1 where it leads to none."""
    found = np.full(len(entries), -1, np.int64)
    there = np.flatnonzero(entries[:, 0] >= 0)
    there = there[word_at[entries[there, 0]] + entries[there, 2] < word_at[entries[there, 0] + 1]]
    slot = entries[there, 0]
    kind, _, _, address, _ = read_dendrite_heads(words[word_at[slot] + entries[there, 2]])
    on = address - neurons[slot]
    fits = (kind == DendriteKind.RELAY) & (on >= 0) & (entry_at[slot] + on < entry_at[slot + 1])
    found[there] = np.where(fits, entry_at[slot] + on, -1)
    return found


def _leaves(entries: Array, entry_at: Array, relays: bool) -> Array:
    """Whether spikes of each core may leave the chip: by its own entries, or by a relay's."""
    sinks = np.concatenate([[0], np.cumsum(entries[:, 0] == SINK)])
    leaves: Array = (sinks[entry_at[1:]] > sinks[entry_at[:-1]]) | relays
    return leaves


def _grid(limits: ChipLimits, live: tuple[Coordinate, ...]) -> Array:
    grid = np.full((limits.width or 0, limits.height or 0), LOST, np.int64)
    for slot, at in enumerate(live):
        grid[at] = slot
    return grid


def _sizes(parts: Iterable[Array]) -> Array:
    return np.array([len(each) for each in parts], np.int64)


def _starts(sizes: Array) -> Array:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _join(parts: list[Array], dtype: type) -> Array:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
