"""A chip's own test finds what does not work, and where."""

from __future__ import annotations

import pytest

from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Damage, LinkDead, MemoryBit
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.self_test import self_test
from synfire.devices.darwin3.words import Memory


@pytest.fixture
def darwin3() -> Chip:
    return Chip(chip("darwin3"))


def test_a_chip_that_is_well_passes(darwin3: Chip) -> None:
    found = self_test(darwin3)
    assert (found.alive, found.wrong, found.cut_off) == (True, (), ())
    assert found.events_per_s > 0


def test_a_dead_core_is_left_out_and_a_dead_chip_is_told(darwin3: Chip) -> None:
    darwin3.inject(CoreDead((3, 2)))
    assert self_test(darwin3).wrong == ()
    darwin3.inject(ChipDead())
    assert not self_test(darwin3).alive


def test_a_core_that_dies_in_the_midst_of_it_is_left_out(darwin3: Chip) -> None:
    darwin3.inject(CoreDead((3, 2)), after_steps=1)
    assert (self_test(darwin3).wrong, darwin3.health().dead_cores) == ((), ((3, 2),))


@pytest.mark.parametrize(
    ("memory", "address", "bit"),
    [(Memory.DENDRITE, 1, 47), (Memory.PROGRAM, 0, 15), (Memory.REGISTER, 33, 4), (Memory.STATE, 4096, 7)],
)
def test_a_stuck_bit_of_any_memory_that_it_writes_is_found(
    darwin3: Chip, memory: Memory, address: int, bit: int
) -> None:
    self_test(darwin3)
    now = int(darwin3.read((5, 7), memory, address, 1)[0]) >> bit & 1
    darwin3.inject(MemoryBit((5, 7), address, bit, Damage.STUCK_AT_0 if now else Damage.STUCK_AT_1, memory))
    assert self_test(darwin3).wrong == ((5, 7),)


def test_a_core_that_cannot_be_turned_off_spoils_the_chip(darwin3: Chip) -> None:
    darwin3.inject(MemoryBit((5, 7), 0, 15, Damage.STUCK_AT_1, Memory.PROGRAM))
    assert self_test(darwin3).wrong == ((5, 7),)
    darwin3.inject(MemoryBit((5, 7), 0, 4, Damage.STUCK_AT_1, Memory.REGISTER))
    assert len(self_test(darwin3).wrong) == 575


def test_cores_behind_a_dead_link_are_told_and_pass_by_themselves(darwin3: Chip) -> None:
    darwin3.inject(LinkDead(((4, 0), (5, 0))))
    darwin3.inject(MemoryBit((7, 3), 33, 4, Damage.STUCK_AT_1, Memory.REGISTER))  # the bias, which no link brings
    found = self_test(darwin3)
    assert found.cut_off == tuple(core for core in darwin3.limits.hosts() if core[0] >= 5)
    assert found.wrong == ((7, 3),)
