"""Faults by name and place, as people ask for them: `core-dead` at `3,4`, `weight-bit` at `3,4@100.47`, or anywhere.

A place that is left out is drawn among what is in use: a core that holds neurons, a link that spikes may cross, a bit of a weight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from synfire.base.errors import UnknownName, UserError
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Damage, Fault, LinkDead, MembraneBit, MemoryBit
from synfire.devices.darwin3.linked import Linked
from synfire.devices.darwin3.mesh import route
from synfire.devices.darwin3.site import PORT_AT
from synfire.devices.darwin3.words import (
    DENDRITE_BITS,
    STATE_BITS,
    Coordinate,
    Kernel,
    Kind,
    Memory,
    Words,
    read_dendrite_heads,
    weights_per_word,
)

_PLACE = re.compile(r"(\d+),(\d+)(?:-(\d+),(\d+)|@(\d+)\.(\d+))?")

_Item = TypeVar("_Item")


@dataclass(frozen=True, eq=False)
class Target:
    """A chip, what is linked onto it, and the dice for what an order leaves open."""

    chip: Chip
    linked: Linked
    rng: np.random.Generator

    def any(self, choices: Sequence[_Item]) -> _Item:
        """One of them. Raises `UserError` when nothing is left."""
        if not choices:
            raise UserError("nothing that is in use on this chip is left to break; name a place")
        return choices[int(self.rng.integers(len(choices)))]

    def core(self) -> Coordinate:
        """A core in use, which holds a piece or relays spikes, and lives."""
        return self.any([core for core in sorted(self.linked.cores) if core not in self.chip.health().dead_cores])

    def piece_core(self) -> Coordinate:
        """A core that holds a piece, and lives."""
        homes = sorted(self.linked.places.values())
        return self.any([core for core in homes if core not in self.chip.health().dead_cores])


@dataclass(frozen=True)
class Place:
    """What a place names: a core, and perhaps the core at the other end of a link, or a number and a bit there."""

    core: Coordinate
    other: Coordinate | None = None
    number: int | None = None
    bit: int = 0

    @classmethod
    def of(cls, text: str) -> Place | None:
        """The place, or None for an empty one. Raises `UserError` for another form."""
        if not text:
            return None
        found = _PLACE.fullmatch(text)
        if found is None:
            raise UserError(
                f"{text!r} is no place on a chip; write X,Y or X,Y-X,Y for a link or X,Y@ADDRESS.BIT for a bit"
            )
        x, y, other_x, other_y, number, bit = (int(each) if each is not None else None for each in found.groups())
        other = (other_x, other_y) if other_x is not None and other_y is not None else None
        return cls((x or 0, y or 0), other, number, bit or 0)


def fault_of(kind: str, place: str, target: Target, stuck: bool = False) -> Fault:
    """The fault of that kind at that place, or, where that is empty, at one that is drawn.

    Raises `UnknownName` for another kind, `UserError` for a place that is none, or that is broken already.
    """
    if kind not in KINDS:
        raise UnknownName.among("fault of a chip", kind, KINDS)
    if not target.chip.health().alive:
        raise UserError("the chip is dead, and nothing more can break on it; choose another")
    return KINDS[kind](target, Place.of(place), stuck)


def describe(fault: Fault) -> str:
    """What is broken, and where, in words."""
    match fault:
        case CoreDead(core):
            return f"core {named(core)} is dead"
        case LinkDead((one, other)):
            return f"the link between cores {named(one)} and {named(other)} is dead"
        case ChipDead():
            return "the chip is dead"
        case MemoryBit(core, address, bit, damage, memory):
            return f"bit {bit} of {memory} word {address} of core {named(core)} is {damage}"
        case MembraneBit(core, neuron, bit):
            return f"bit {bit} of the membrane of neuron {neuron} on core {named(core)} is flipped"


def named(core: Coordinate) -> str:
    """A core as places are written."""
    return f"{core[0]},{core[1]}"


def _core_dead(target: Target, place: Place | None, stuck: bool) -> Fault:
    core = target.core() if place is None else _plain(place)
    if core in target.chip.health().dead_cores:
        raise UserError(f"core {named(core)} is dead already; name another")
    return CoreDead(core)


def _link_dead(target: Target, place: Place | None, stuck: bool) -> Fault:
    if place is None:
        link = target.any([link for core in target.chip.cores for link in _near(target, core)])
    elif place.other is None:
        raise UserError(f"{named(place.core)} is a core, and a link lies between two: write X,Y-X,Y")
    else:
        link = place.core, place.other
    if link in target.chip.health().dead_links:
        raise UserError(f"the link between {named(link[0])} and {named(link[1])} is dead already; name another")
    return LinkDead(link)


def _chip_dead(target: Target, place: Place | None, stuck: bool) -> Fault:
    if place is not None:
        raise UserError("chip-dead is of the whole chip; leave out the core")
    return ChipDead()


def _weight_bit(target: Target, place: Place | None, stuck: bool) -> Fault:
    core = target.piece_core() if place is None else place.core
    address, bit = _a_weight(target, core) if place is None or place.number is None else (place.number, place.bit)
    if not 0 <= bit < DENDRITE_BITS:
        raise UserError(f"a dendrite word has bits 0 to {DENDRITE_BITS - 1}, not {bit}; name one of these")
    if not stuck:
        return MemoryBit(core, address, bit)
    now = int(target.chip.read(core, Memory.DENDRITE, address, 1)[0]) >> bit & 1
    return MemoryBit(core, address, bit, Damage.STUCK_AT_0 if now else Damage.STUCK_AT_1)


def _membrane_bit(target: Target, place: Place | None, stuck: bool) -> Fault:
    if stuck:
        raise UserError("a membrane is written anew at each step, so its bits are flipped only; leave out --stuck")
    core = target.piece_core() if place is None else place.core
    if place is not None and place.number is not None:
        return MembraneBit(core, place.number, place.bit)
    running = target.chip.read_state(core).shape[1]
    if not running:
        raise UserError(
            f"no neuron runs on core {named(core)}; the chip runs {', '.join(map(named, target.chip.cores))}"
        )
    return MembraneBit(core, int(target.rng.integers(running)), int(target.rng.integers(STATE_BITS)))


KINDS: Mapping[str, Callable[[Target, Place | None, bool], Fault]] = {
    "core-dead": _core_dead,
    "mesh-link-dead": _link_dead,
    "chip-dead": _chip_dead,
    "weight-bit": _weight_bit,
    "membrane-bit": _membrane_bit,
}
"""What can be asked for."""


def _plain(place: Place) -> Coordinate:
    if place.other is not None or place.number is not None:
        raise UserError(f"a core is named by X,Y alone, such as {named(place.core)}")
    return place.core


def _near(target: Target, core: Coordinate) -> list[tuple[Coordinate, Coordinate]]:
    """The links that spikes cross on their way to a core from outside, and from it to its readers."""
    linked, dead = target.linked, target.chip.health().dead_links
    piece = next((piece for piece, at in linked.places.items() if at == core), None)
    if piece is None:
        return []
    ways = [route(core, linked.places[each]) for each in linked.table.targets[piece[0]]]
    ways += [route(PORT_AT, core)] if linked.table.fed(piece[0]) else []
    return [link for way in ways for link in way if link not in dead]


def _a_weight(target: Target, core: Coordinate) -> tuple[int, int]:
    """Address and bit of a weight that a dendrite of the core adds to a neuron."""
    piece = next((piece for piece, at in target.linked.places.items() if at == core), None)
    if piece is None:
        homes = ", ".join(sorted(named(at) for at in target.linked.places.values()))
        raise UserError(f"core {named(core)} holds no weights; those that do: {homes}")
    image = target.linked.linkables[piece[0]].image
    dendrites = [each for slot in image.slots for each in slot.table()[piece[1]].tolist() if each >= 0]
    words = target.chip.read(core, Memory.DENDRITE)
    first, count = _weights(words, target.any(dendrites))
    per = weights_per_word(image.bits)
    number = int(target.rng.integers(count))
    lowest = (per - 1 - number % per) * image.bits
    return first + number // per, lowest + int(target.rng.integers(image.bits))


def _weights(words: Words, dendrite: int) -> tuple[int, int]:
    """Where the weights of a dendrite begin, and how many there are: of an all-to-all one, those of its first row."""
    kind, count, where, weights, _ = (int(each[0]) for each in read_dendrite_heads(words[dendrite]))
    if kind == Kind.KERNEL:
        kernel = Kernel.of(words[where : where + 3])
        count *= kernel.kernel[0] * kernel.kernel[1]
    return weights, count
