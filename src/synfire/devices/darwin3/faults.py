"""What can break on a chip. `Chip.inject(fault)` breaks it; `Chip.repair(fault)` mends what can be mended.

A dead core, link or chip is seen by the hardware and reported by `Chip.health`. A wrong bit is silent: only wrong answers
tell, which is what known-answer tests are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from synfire.devices.darwin3.mesh import Link
from synfire.devices.darwin3.words import Coordinate, Memory


class Damage(StrEnum):
    """What happened to a bit: flipped once (writing the word mends it), or stuck at a value for good."""

    FLIPPED = "flipped"
    STUCK_AT_0 = "stuck-at-0"
    STUCK_AT_1 = "stuck-at-1"


@dataclass(frozen=True)
class CoreDead:
    """The core computes no more: its neurons are silent, events for it are lost. Its router goes on (assumed)."""

    core: Coordinate


@dataclass(frozen=True)
class LinkDead:
    """The mesh link between two neighbours carries nothing, both ways; spikes routed across it are lost."""

    link: Link


@dataclass(frozen=True)
class ChipDead:
    """The chip answers nothing."""


@dataclass(frozen=True)
class MemoryBit:
    """One bit of one word of a memory, e.g. of a weight; bit 0 is the lowest."""

    core: Coordinate
    address: int
    bit: int
    damage: Damage = Damage.FLIPPED
    memory: Memory = Memory.DENDRITE


@dataclass(frozen=True)
class MembraneBit:
    """One bit of a running neuron's membrane flips, in one sample or (None) in all of them."""

    core: Coordinate
    neuron: int
    bit: int
    sample: int | None = None


Fault = CoreDead | LinkDead | ChipDead | MemoryBit | MembraneBit


@dataclass(frozen=True)
class Health:
    """What a chip knows about itself. Wrong bits are not in it: nothing on the chip notices them."""

    alive: bool = True
    dead_cores: tuple[Coordinate, ...] = ()
    dead_links: tuple[Link, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nothing is known to be broken."""
        return self.alive and not self.dead_cores and not self.dead_links
