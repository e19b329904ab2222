"""Who reads whom among the images that are linked together: a linker's symbol table."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from synfire.base.errors import UserError
from synfire.devices.darwin3.axons import Lists, Reading, lists
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.linkable import DENSITY, Linkable, PieceName
from synfire.devices.darwin3.place import PORT, Flows
from synfire.devices.darwin3.words import MOST_DENDRITES
from synfire.ops import Array


@dataclass(frozen=True, eq=False)
class Symbols:
    """`readers[source]` are the slots bound to an operator or input; `exports` the first number of each exported piece."""

    linkables: Mapping[str, Linkable]
    readers: Mapping[str, tuple[Reading, ...]]
    exports: Mapping[PieceName, int]

    def pieces(self, name: str) -> list[PieceName]:
        """The pieces of an operator."""
        return [(name, number) for number in range(len(self.linkables[name].image.pieces))]

    def all_pieces(self) -> list[PieceName]:
        """The pieces of all operators, in order."""
        return [piece for name in self.linkables for piece in self.pieces(name)]

    def dendrite_words(self, piece: PieceName) -> int:
        """How many dendrite words a piece needs."""
        return self.linkables[piece[0]].image.pieces[piece[1]].dendrite_words

    @functools.cached_property
    def targets(self) -> Mapping[str, tuple[PieceName, ...]]:
        """The pieces that each operator's spikes reach."""
        return {
            name: tuple(
                (each.reader, number)
                for each in self.readers.get(name, ())
                for number in range(len(each.table))
                if each.reaches(number)
            )
            for name in self.linkables
        }

    def fed(self, name: str) -> list[Array]:
        """The dendrites `(piece, channel)` of an operator's slots that the host sends to: inputs, and what blocks hand on."""
        each = self.linkables[name]
        return [
            slot.table()
            for slot, source in zip(each.image.slots, each.sources, strict=True)
            if source not in self.linkables or slot.delay_steps
        ]

    def sources(self, name: str) -> list[str]:
        """The operators whose spikes reach an operator."""
        return [each for each in dict.fromkeys(self.linkables[name].sources) if each in self.linkables]

    @functools.cached_property
    def lists(self) -> Mapping[PieceName, Lists]:
        """What each piece's axons have in all places."""
        return {
            (name, number): lists(each.image.piece(number), self.readers.get(name, ()), each.exported)
            for name, each in self.linkables.items()
            for number in range(len(each.image.pieces))
        }

    @functools.cached_property
    def flows(self) -> Flows:
        """Spikes per step between pieces, by `label`, and to and from the data port."""
        found: dict[tuple[str, str], float] = {}
        for source, readings in self.readers.items():
            for each in readings:
                for number in range(len(each.table)):
                    share = float((each.table[number] >= 0).mean())
                    for sender, spikes in self._emitted(source, len(each.channel)).items() if share else ():
                        key = sender, label((each.reader, number))
                        found[key] = found.get(key, 0.0) + spikes * share
        for name, linkable in self.linkables.items():
            if linkable.exported:
                found |= {(sender, PORT): spikes for sender, spikes in self._emitted(name, 0).items()}
        return found

    @functools.cached_property
    def pulls(self) -> Mapping[PieceName, tuple[tuple[PieceName | None, float], ...]]:
        """What each piece exchanges spikes with, None for the data port, and how many a step."""
        named = {label(piece): piece for piece in self.all_pieces()}
        found: dict[PieceName, list[tuple[PieceName | None, float]]] = {piece: [] for piece in named.values()}
        for (a, b), spikes in self.flows.items():
            for here, there in ((a, b), (b, a)) if a != b else ():
                if here in named:
                    found[named[here]].append((named.get(there), spikes))
        return {piece: tuple(each) for piece, each in found.items()}

    def _emitted(self, source: str, size: int) -> dict[str, float]:
        if source not in self.linkables:
            return {PORT: size * DENSITY}
        each = self.linkables[source]
        return {label(piece): each.image.neurons(piece[1]) * each.density for piece in self.pieces(source)}


def label(piece: PieceName) -> str:
    """A piece's name in one word."""
    return f"{piece[0]}#{piece[1]}"


def symbols(linkables: Mapping[str, Linkable], limits: ChipLimits) -> Symbols:
    """Raises `UserError` for images of another chip, slots that are not bound, or bound to an operator of another size."""
    readers: dict[str, list[Reading]] = {}
    for name, each in linkables.items():
        _check(name, each, linkables, limits)
        for slot, source in zip(each.image.slots, each.sources, strict=True):
            readers.setdefault(source, []).append(Reading(name, slot.table(), slot.channel(), slot.index()))
    return Symbols(linkables, {source: tuple(each) for source, each in readers.items()}, _exports(linkables))


def _exports(linkables: Mapping[str, Linkable]) -> dict[PieceName, int]:
    """Consecutive numbers for the channels of exported pieces."""
    found: dict[PieceName, int] = {}
    number = 0
    for name, each in linkables.items():
        for index, piece in enumerate(each.image.pieces if each.exported else ()):
            found[name, index] = number
            number += piece.channels
    if number > MOST_DENDRITES:
        raise UserError(
            f"{number} channels would leave the chip, and entries name {MOST_DENDRITES}; read fewer outputs"
        )
    return found


def _check(name: str, each: Linkable, linkables: Mapping[str, Linkable], limits: ChipLimits) -> None:
    image = each.image
    if image.chip != limits.name:
        raise UserError(f"the image of {name!r} is for {image.chip}, not for {limits.name}; compile it for this chip")
    if len(each.sources) != len(image.slots):
        raise UserError(
            f"the image of {name!r} has {len(image.slots)} slots and {len(each.sources)} sources; bind one each"
        )
    for slot, source in zip(image.slots, each.sources, strict=True):
        if source in linkables and linkables[source].image.layout.size != slot.size:
            raise UserError(
                f"{name!r} reads {slot.size} elements of {source!r}, which has {linkables[source].image.layout.size}; "
                "bind the slot to the operator that it was compiled for"
            )
