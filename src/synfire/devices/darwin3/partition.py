"""Populations into pieces, each the size of a core."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.ir import Convolution, Full, Layout, Network, Population, Projection, Sparse
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.words import LIST_PER_WORD, MOST_INDICES, weights_per_word
from synfire.ops import Array

MOST_ROWS = 4095
"""Rows of a map in one core: a kernel dendrite's sizes are below 4096."""


PIECE_WORDS = 16_384
"""Dendrite words of a piece, by default: a quarter of the largest core, so that moving one costs a small part of its network,
and more cores can take it."""


@dataclass(frozen=True)
class Piece:
    """The neurons of one core: channels `first_channel` … and rows `first_row` … of a population's maps.

    `layout` is the population's. In the core, neuron (y · width + x) · channels + c is the element of channel c at (y, x) of
    the piece.
    """

    population: str
    number: int
    layout: Layout
    first_channel: int
    channels: int
    first_row: int
    rows: int

    @property
    def neurons(self) -> int:
        return self.channels * self.rows * self.layout.width

    @property
    def name(self) -> str:
        """What the linker calls it."""
        return f"{self.population}#{self.number}"

    def elements(self) -> Array:
        """The population's element, in C order, that each neuron is: `(neurons,)`, not to be written."""
        return _elements(self.layout, self.first_channel, self.channels, self.first_row, self.rows)


@lru_cache(maxsize=1024)  # of every core in use, for every block that runs
def _elements(layout: Layout, first_channel: int, channels: int, first_row: int, rows: int) -> Array:
    y, x, c = np.meshgrid(np.arange(rows), np.arange(layout.width), np.arange(channels), indexing="ij")
    elements = (((first_channel + c) * layout.height + first_row + y) * layout.width + x).ravel()
    elements.flags.writeable = False
    return elements


def partition(
    network: Network, limits: ChipLimits, bits: int, most_words: int | None = None
) -> dict[str, tuple[Piece, ...]]:
    """The pieces of every population, as few as the limits allow, of about equal size, cut by channels before rows.

    No piece has more than `most_words` dendrite words, where that can be; None: what the largest core has. Raises `UserError` when even one row of one channel does not fit a core, with the numbers.
    """
    largest = max((limits.dendrite_words or {"": 0}).values())
    rooms = (min(most_words or largest, largest), largest)
    return {name: _pieces(network, name, limits, bits, rooms) for name in network.populations}


def _pieces(network: Network, name: str, limits: ChipLimits, bits: int, rooms: tuple[int, int]) -> tuple[Piece, ...]:
    """The pieces of one population, within the smaller room if any cut gets there."""
    population, arriving = network.populations[name], network.arriving(name)
    last = ""
    for room in dict.fromkeys(rooms):
        for channels, rows in _grids(population.layout):
            pieces = tuple(_cut(population, channels, rows))
            last = _too_large(pieces, arriving, limits, bits, room)
            if not last:
                return pieces
    raise UserError(f"population {name!r} cannot be cut small enough: {last}; place it on cpu")


def dendrite_words(piece: Piece, arriving: tuple[Projection, ...], bits: int) -> int:
    """Words of the piece's dendrite memory: heads, geometries, lists and weights."""
    return sum(_words(each, piece, weights_per_word(bits)) for each in arriving)


def _too_large(
    pieces: tuple[Piece, ...], arriving: tuple[Projection, ...], limits: ChipLimits, bits: int, room: int
) -> str:
    """The first limit that a piece breaks, in words; empty when all fit."""
    largest = max(pieces, key=lambda piece: piece.neurons)
    most = limits.neurons_per_core or 0
    if largest.neurons > most or largest.rows > MOST_ROWS:
        return f"{largest.neurons} neurons in a piece, and a core has {most}"
    for piece in pieces:
        needed = dendrite_words(piece, arriving, bits)
        if needed > room:
            return f"{needed} dendrite words in a piece of {piece.neurons} neurons, and the largest core has {room}"
    return ""


def _grids(layout: Layout) -> Iterator[tuple[int, int]]:
    """(cuts of the channels, cuts of the rows): one piece, then more and more."""
    for cuts in range(1, layout.channels + 1):
        if cuts == 1 or math.ceil(layout.channels / cuts) < math.ceil(layout.channels / (cuts - 1)):
            yield cuts, 1
    for cuts in range(2, layout.height + 1):
        if math.ceil(layout.height / cuts) < math.ceil(layout.height / (cuts - 1)):
            yield layout.channels, cuts


def _cut(population: Population, channel_cuts: int, row_cuts: int) -> Iterator[Piece]:
    layout, number = population.layout, 0
    for first_channel, channels in _shares(layout.channels, channel_cuts):
        for first_row, rows in _shares(layout.height, row_cuts):
            yield Piece(population.name, number, layout, first_channel, channels, first_row, rows)
            number += 1


def _shares(size: int, cuts: int) -> Iterator[tuple[int, int]]:
    """`(first, count)` of nearly equal shares, the larger ones first."""
    count, larger = divmod(size, cuts)
    first = 0
    for i in range(cuts):
        share = count + (i < larger)
        yield first, share
        first += share


def _words(each: Projection, piece: Piece, per_word: int) -> int:
    form = each.form
    if isinstance(form, Convolution):
        return _convolution_words(form, piece, per_word)
    if isinstance(form, Full):
        channels, pixels = form.in_shape
        return channels * (1 + pixels * math.ceil(piece.neurons / per_word))
    return _sparse_words(form, piece, per_word)


def _convolution_words(form: Convolution, piece: Piece, per_word: int) -> int:
    if form.in_shape[1] > MOST_INDICES:
        raise UserError(
            f"population {piece.population!r} reads maps of {form.in_shape[1]} pixels, and a spike's index counts to "
            f"{MOST_INDICES}; use smaller maps, or place it on cpu"
        )
    outputs, taps = form.weight.shape[0] // form.groups, form.weight.shape[2] * form.weight.shape[3]
    per_group = form.weight.shape[1]
    total = 0 if form.groups > 1 else 3
    for g in range(form.groups):
        inside = min((g + 1) * outputs, piece.first_channel + piece.channels) - max(g * outputs, piece.first_channel)
        if inside > 0:
            total += per_group * (1 + math.ceil(taps * inside / per_word)) + (3 if form.groups > 1 else 0)
    return total


def _sparse_words(form: Sparse, piece: Piece, per_word: int) -> int:
    member = np.zeros(form.rows.width, bool)
    member[piece.elements()] = True
    counts = np.bincount(form.rows.of_row[member[form.rows.targets]], minlength=len(form.rows))
    counts = counts[counts > 0]
    return int((1 + np.ceil(counts / LIST_PER_WORD) + np.ceil(counts / per_word)).sum())
