"""Axon memories: the only words of a core that name other cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.assemble import registers
from synfire.devices.darwin3.ir import GATE
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.neurons import SECTION, State
from synfire.devices.darwin3.partition import Piece
from synfire.devices.darwin3.words import (
    AXON_HOPS,
    Block,
    Coordinate,
    CoreImage,
    Kind,
    Memory,
    Words,
    axon_entries,
    axon_heads,
    axon_hops,
    dendrite_heads,
    pack_values,
)
from synfire.ops import Array


@dataclass(frozen=True, eq=False)
class Reading:
    """A slot that reads an operator: `table[piece, channel]` is the dendrite, `channel` and `index` are by source element;
    −1 for none."""

    reader: str
    table: Array
    channel: Array
    index: Array

    def reaches(self, piece: int) -> bool:
        """Whether any spike goes to a piece of the reader."""
        return bool((self.table[piece] >= 0).any())


@dataclass(frozen=True, eq=False)
class Lists:
    """What of a piece's axon memory does not depend on any place: the heads, and which lists of entries there are.

    A list for each set of destinations; `channels[l, r]` is the channel that list l sends to in reading r, `own[l]` the piece's
    channel that it exports.
    """

    neurons: int
    heads: Words
    channels: Array
    own: Array


@dataclass(frozen=True, eq=False)
class Ends:
    """Where entries lead, for one reading or the export: cores, and the dendrite `(list, core)` on each; −1 for none."""

    cores: tuple[Coordinate, ...]
    dendrites: Array


def lists(piece: Piece, readings: Sequence[Reading], exported: bool) -> Lists:
    """Sort a piece's neurons by where their spikes go. Raises `UserError` when readers ask for unlike indices."""
    elements = piece.elements()
    own = elements // piece.layout.pixels - piece.first_channel
    keys = [each.channel[elements] for each in readings]
    key = own if exported else np.zeros(len(elements), np.int64)
    for each, sent in zip(readings, keys, strict=True):
        key = key * (each.table.shape[1] + 1) + sent + 1
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    channels = np.stack([sent[first] for sent in keys], axis=1) if keys else np.zeros((len(first), 0), np.int64)
    counts = sum(
        ((each.table[:, channels[:, r]] >= 0) & (channels[:, r] >= 0)).sum(axis=0) for r, each in enumerate(readings)
    )
    counts = counts + np.full(len(first), int(exported))
    starts = piece.neurons + np.cumsum(counts) - counts
    heads = axon_heads(starts[which], _index(piece, readings, exported, elements))
    heads[counts[which] == 0] = 0
    return Lists(piece.neurons, heads, channels, own[first])


def axon_words(made: Lists, core: Coordinate, ends: Sequence[Ends], limits: ChipLimits) -> Words:
    """The axon memory of a piece on a core; empty when nobody is told. Raises `UserError` when it does not fit."""
    at = np.array([each for part in ends for each in part.cores]).reshape(-1, 2) - np.array(core)
    if not len(at):
        return np.zeros(0, np.uint64)
    dendrites = np.concatenate([part.dendrites for part in ends], axis=1)
    valid = dendrites >= 0
    count, room = int(valid.sum()), (limits.axon_words or 0) - made.neurons
    if count > room:
        raise UserError(
            f"the piece on core {core} needs {count} axon entries for {made.neurons} neurons, and {room} words are left; "
            "cut the layer, or place it on cpu"
        )
    last = (np.cumsum(valid, axis=1) == valid.sum(axis=1)[:, None])[valid]
    dx, dy = (np.broadcast_to(at[:, axis], dendrites.shape)[valid] for axis in (0, 1))
    return np.concatenate([made.heads, axon_entries(dx, dy, dendrites[valid], last)])


def renamed(axon: Words, neurons: int, core: Coordinate, moved: Mapping[Coordinate, Coordinate]) -> Words:
    """The axon memory of the piece on a core when cores that its entries name have moved, all within reach as before."""
    entries, changed = axon[neurons:], axon.copy()
    for old, new in moved.items():
        named = (entries & np.uint64(AXON_HOPS)) == axon_hops(old[0] - core[0], old[1] - core[1])
        other = np.uint64(axon_hops(new[0] - core[0], new[1] - core[1]))
        changed[neurons:][named] = entries[named] & ~np.uint64(AXON_HOPS) | other
    return changed


def relay_core(core: Coordinate, forwarded: Mapping[tuple[Coordinate, int], int], limits: ChipLimits) -> CoreImage:
    """A core that only sends on: dendrite `forwarded[target, d]` leads to dendrite d of core `target`.

    It runs one silent neuron, without which it would be off.
    """
    ends = np.array([(*target, dendrite) for target, dendrite in forwarded])
    entries = axon_entries(ends[:, 0] - core[0], ends[:, 1] - core[1], ends[:, 2], True)
    lines = np.arange(len(ends))
    program, register = registers(GATE, limits.default_weight_bits or 8)
    return CoreImage(
        dendrite=dendrite_heads(int(Kind.RELAY), np.ones_like(lines), 0, 1 + lines),
        axon=np.concatenate([np.zeros(1, np.uint64), entries]),
        program=program,
        register=register(1),
        state=(Block(Memory.STATE, State.THRESHOLD * SECTION, pack_values(2**15 - 1)),),
    )


def _index(piece: Piece, readings: Sequence[Reading], exported: bool, elements: Array) -> Array:
    """The index that all readers agree upon; 0 where nobody asks for one."""
    asked = [each.index[elements] for each in readings]
    if exported:
        asked.append(elements % piece.layout.pixels)
    found: Array = np.maximum.reduce([*asked, np.full(len(elements), -1)])
    if any(bool(((each >= 0) & (each != found)).any()) for each in asked):
        raise UserError(f"the readers of {piece.name} ask for unlike indices of its spikes; lower the stage again")
    return np.maximum(found, 0)
