"""What linking gives: words on cores, and the words in which two linkings differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.linkable import Linkable, PieceName
from synfire.devices.darwin3.neurons import Register
from synfire.devices.darwin3.site import PORT_AT, Site
from synfire.devices.darwin3.symbols import Symbols
from synfire.devices.darwin3.words import Coordinate, CoreImage, Memory, Words
from synfire.ops import Array

Forwarding = Mapping[tuple[Coordinate, int], int]
"""What a relay core does: its dendrite `forwarding[core, d]` leads to dendrite d of `core`."""


@dataclass(frozen=True)
class Write:
    """Words for the configuration port."""

    core: Coordinate
    memory: Memory
    address: int
    words: Words


@dataclass(frozen=True)
class Loaded:
    """The words on a spare core: those of a piece, as if it were there, but that no neuron runs."""

    piece: PieceName
    image: CoreImage


@dataclass(frozen=True)
class Linked:
    """Images on cores.

    `table` says who reads whom, `places` where each piece is, `relays` over which cores the spikes of a core reach another that is out of reach, `forwarded`
    what each of these sends on. `cores` are the words of every core in use, `loaded`
    those of spare cores that wait, turned off, to take over a piece.
    """

    table: Symbols
    site: Site
    places: Mapping[PieceName, Coordinate]
    relays: Mapping[tuple[Coordinate, Coordinate], tuple[Coordinate, ...]]
    forwarded: Mapping[Coordinate, Forwarding]
    cores: Mapping[Coordinate, CoreImage]
    loaded: Mapping[Coordinate, Loaded] = field(default_factory=dict)

    @property
    def limits(self) -> ChipLimits:
        """The chip's."""
        return self.site.limits

    @property
    def health(self) -> Health:
        """What was broken when this was linked."""
        return self.site.health

    def has(self, piece: PieceName, linkable: Linkable, core: Coordinate) -> bool:
        """Whether a core holds that piece of that image."""
        return self.places.get(piece) == core and self.linkables.get(piece[0]) is linkable

    @property
    def linkables(self) -> Mapping[str, Linkable]:
        """What was linked, by operator."""
        return self.table.linkables

    @property
    def exports(self) -> Mapping[PieceName, int]:
        """The number by which spikes of an exported piece's first channel leave the chip."""
        return self.table.exports

    @property
    def words(self) -> int:
        """How many words a whole deployment writes."""
        return sum(image.size for image in self.cores.values())

    def spare_for(self, piece: PieceName) -> Coordinate | None:
        """The spare core that waits to take over a piece."""
        return next((core for core, each in self.loaded.items() if each.piece == piece), None)

    def inlet(self, core: Coordinate, dendrites: Array) -> tuple[Coordinate, Array]:
        """Where the host sends what is meant for dendrites of a core: there, or past dead links to a relay; −1 stays −1."""
        for relay in reversed(self.relays.get((PORT_AT, core), ())):
            lines = self.forwarded[relay]
            dendrites = np.array([-1 if d < 0 else lines[core, d] for d in dendrites.tolist()], np.int64)
            core = relay
        return core, dendrites

    def writes(self) -> list[Write]:
        """Every word, core by core: a whole deployment."""
        return [write for core, image in self.cores.items() for write in whole_core(core, image)]


@dataclass(frozen=True)
class Relinked:
    """A new linking and what it takes to get there: `moved` pieces with old and new core, and the words to write."""

    linked: Linked
    moved: Mapping[PieceName, tuple[Coordinate, Coordinate]]
    writes: tuple[Write, ...] = field(default_factory=tuple)

    @property
    def words(self) -> int:
        """How many words that is."""
        return sum(len(each.words) for each in self.writes)


def whole_core(core: Coordinate, image: CoreImage) -> list[Write]:
    """All words of a core."""
    return [Write(core, block.memory, block.address, block.words) for block in image.blocks()]


def changes(before: Linked, after: Linked) -> Iterator[Write]:
    """The words in which two linkings differ, core by core, neighbouring words in one write.

    A core that is no longer used, and not dead, is turned off.
    """
    for core, image in after.cores.items():
        if image is before.cores.get(core):
            continue
        loaded = before.loaded.get(core)
        old = before.cores.get(core) or (turned_on(loaded.image, image) if loaded else None)
        if old is None or not _alike(old, image):
            yield from whole_core(core, image)
        else:
            if loaded:
                yield Write(core, Memory.REGISTER, int(Register.NEURONS), image.register[:1])
            yield from _differences(core, Memory.DENDRITE, old.dendrite, image.dendrite)
            yield from _differences(core, Memory.AXON, old.axon, image.axon)
    for core in before.cores:
        if core not in after.cores and core not in after.health.dead_cores:
            yield Write(core, Memory.REGISTER, int(Register.NEURONS), np.zeros(1, np.uint64))


def turned_off(image: CoreImage) -> CoreImage:
    """A core's words with no neuron running."""
    return replace(image, register=np.where(np.arange(len(image.register)) == Register.NEURONS, 0, image.register))


def turned_on(image: CoreImage, like: CoreImage) -> CoreImage:
    """A core's words with as many neurons running as in another."""
    first = np.arange(len(image.register)) == Register.NEURONS
    return replace(image, register=np.where(first, like.register[: len(first)], image.register))


def _alike(old: CoreImage, new: CoreImage) -> bool:
    """Whether two images of a core are of the same neurons, so that connections alone may differ."""
    if all(getattr(old, name) is getattr(new, name) for name in ("register", "program", "state")):
        return True
    return (
        np.array_equal(old.register, new.register)
        and np.array_equal(old.program, new.program)
        and len(old.state) == len(new.state)
        and all(
            a.address == b.address and np.array_equal(a.words, b.words)
            for a, b in zip(old.state, new.state, strict=True)
        )
    )


def _differences(core: Coordinate, memory: Memory, old: Words, new: Words) -> Iterator[Write]:
    if old is new:
        return
    common = min(len(old), len(new))
    same = np.zeros(len(new), np.bool_)
    same[:common] = old[:common] == new[:common]
    changed = np.flatnonzero(~same)
    if not len(changed):
        return
    for run in np.split(changed, np.flatnonzero(np.diff(changed) > 1) + 1):
        yield Write(core, memory, int(run[0]), new[run[0] : run[-1] + 1])
