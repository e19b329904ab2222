from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import PermanentError, UserError
from synfire.devices.darwin3.chip import Chip, Events
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Damage, Fault, Health, LinkDead, MembraneBit, MemoryBit
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.mesh import route
from synfire.devices.darwin3.neurons import SECTION, Model, Register, program
from synfire.devices.darwin3.words import (
    Block,
    Coordinate,
    CoreImage,
    Kind,
    Memory,
    axon_entries,
    axon_heads,
    dendrite_heads,
    pack_values,
    pack_weights,
)

A, B = (1, 0), (4, 2)
PLACES = st.tuples(st.integers(0, 23), st.integers(0, 23))


def core(weights: list[int], target: tuple[int, int, int] | None = None, level: int = 10) -> CoreImage:
    """One dendrite that adds `weights`; every neuron sends to `target` (dx, dy, dendrite)."""
    n = len(weights)
    axon = np.zeros(0, np.uint64)
    if target:
        axon = np.concatenate([axon_heads(np.full(n, n)), axon_entries(*target, True)])
    registers = np.zeros(48, np.int64)
    registers[[Register.NEURONS, Register.WEIGHT_BITS]] = n, 8
    dendrite = np.concatenate([dendrite_heads(Kind.RANGE, n, 0, 1), pack_weights(weights, 8)])
    state = (Block(Memory.STATE, SECTION, pack_values([level] * n)),)
    return CoreImage(dendrite, axon, program(Model.IF), pack_values(registers), state)


def running(batch: int = 1) -> Chip:
    made = Chip(chip())
    made.load(A, core([10, 10], (3, 2, 0)))
    made.load(B, core([4, 5], level=1000))
    made.begin(batch)
    return made


def arrived(made: Chip) -> list[int]:
    """B's membranes after two neurons of A have fired once, in the first sample."""
    made.step(Events.at(A, 0))
    made.step()
    found: list[int] = made.read_state(B)[0].tolist()
    return found


@given(PLACES, PLACES)
def test_a_route_goes_along_x_then_along_y_in_single_hops(source: Coordinate, target: Coordinate) -> None:
    links = route(source, target)
    assert len(links) == abs(source[0] - target[0]) + abs(source[1] - target[1])
    places = [source, *(end for _, end in links)]
    assert places[-1] == target
    assert [start for start, _ in links] == places[:-1]
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in links)
    turned = [a[1] != b[1] for a, b in links]
    assert turned == sorted(turned)


def test_a_dead_core_is_silent_loses_what_it_is_sent_and_takes_no_words() -> None:
    broken = running()
    broken.inject(CoreDead(B))
    broken.step(Events.at(A, 0))
    broken.step()
    assert broken.activity().lost.tolist() == [2]
    for call in (lambda: broken.read_state(B), lambda: broken.load(B, core([1])), lambda: broken.read(B, Memory.AXON)):
        with pytest.raises(PermanentError, match=r"core \(4, 2\) is dead; link its image"):
            call()
    assert broken.health() == Health(True, dead_cores=(B,))


def test_the_router_of_a_dead_core_goes_on() -> None:
    broken = running()
    broken.inject(CoreDead((3, 0)))
    assert arrived(broken) == [8, 10]


@pytest.mark.parametrize("link", route(A, B))
@pytest.mark.parametrize("reverse", [False, True])
def test_a_dead_link_loses_the_spikes_that_are_routed_across_it(
    link: tuple[Coordinate, Coordinate], reverse: bool
) -> None:
    broken = running()
    broken.inject(LinkDead(link[::-1] if reverse else link))
    assert arrived(broken) == [0, 0]
    assert broken.activity().lost.tolist() == [2]
    assert broken.health().dead_links == tuple(sorted((link, link[::-1])))
    broken.repair(LinkDead(link))
    assert broken.health().well
    assert arrived(broken) == [8, 10]


def test_a_dead_link_elsewhere_loses_nothing() -> None:
    broken = running()
    broken.inject(LinkDead(((1, 0), (1, 1))))
    assert arrived(broken) == [8, 10]


def test_a_dead_link_on_the_way_in_loses_events_from_outside() -> None:
    broken = running()
    broken.inject(LinkDead(((0, 0), (1, 0))))
    broken.step(Events.at(A, 0))
    assert broken.activity().lost.tolist() == [1]
    assert not broken.read_state(A).any()


def test_a_dead_chip_answers_nothing_but_is_known_to_be_dead() -> None:
    broken = running()
    broken.inject(ChipDead())
    for call in (
        broken.step,
        broken.begin,
        broken.reset,
        broken.activity,
        broken.save,
        lambda: broken.load(A, core([1])),
    ):
        with pytest.raises(PermanentError, match="does not answer; move"):
            call()
    assert broken.health() == Health(alive=False)
    broken.repair(ChipDead())
    assert arrived(broken) == [8, 10]


@settings(deadline=None)
@given(st.integers(0, 1), st.integers(0, 7))
def test_a_flipped_weight_bit_changes_that_weight_until_the_word_is_written(neuron: int, bit: int) -> None:
    broken = running()
    broken.inject(MemoryBit(B, 1, 40 - 8 * neuron + bit))
    weights = [4, 5]
    weights[neuron] = (weights[neuron] ^ 1 << bit) - (256 if bit == 7 else 0)
    assert arrived(broken) == [2 * each for each in weights]
    broken.configure(B, Memory.DENDRITE, 1, pack_weights([4, 5], 8))
    broken.begin()
    assert arrived(broken) == [8, 10]


@pytest.mark.parametrize(("damage", "weight"), [(Damage.STUCK_AT_1, 6), (Damage.STUCK_AT_0, 0)])
def test_a_stuck_bit_stays_when_the_word_is_written_again(damage: Damage, weight: int) -> None:
    broken, bit = running(), 41 if damage is Damage.STUCK_AT_1 else 42
    broken.inject(MemoryBit(B, 1, bit, damage))
    broken.configure(B, Memory.DENDRITE, 1, pack_weights([4, 5], 8))
    broken.begin()
    assert arrived(broken) == [2 * weight, 10]
    broken.repair(MemoryBit(B, 1, bit, damage))
    broken.begin()
    assert arrived(broken) == [8, 10]


def test_a_stuck_bit_survives_a_reset_of_the_chip() -> None:
    broken = running()
    broken.inject(MemoryBit(B, 1, 0, Damage.STUCK_AT_1))
    broken.reset()
    assert broken.read(B, Memory.DENDRITE).tolist() == [0, 1]


def test_a_flipped_membrane_bit_is_gone_with_the_run() -> None:
    broken = running(batch=2)
    broken.inject(MembraneBit(B, 1, 15, sample=1))
    assert broken.read_state(B).tolist() == [[0, 0], [0, -32768]]
    broken.inject(MembraneBit(B, 0, 3))
    assert broken.read_state(B).tolist() == [[8, 0], [8, -32768]]
    broken.begin()
    assert not broken.read_state(B).any()


@pytest.mark.parametrize(
    "fault", [MemoryBit(B, 1, 3), MemoryBit(B, 1, 3, Damage.STUCK_AT_1), MemoryBit(A, 0, 17), MembraneBit(B, 0, 14)]
)
def test_health_does_not_notice_wrong_bits(fault: Fault) -> None:
    broken = running()
    broken.inject(fault)
    arrived(broken)
    assert broken.health() == Health()
    assert broken.health().well


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([Memory.DENDRITE, Memory.AXON]), st.sampled_from([A, B]), st.integers(0, 2), st.data())
def test_no_flipped_bit_harms_anything_but_the_answer(
    memory: Memory, at: Coordinate, address: int, data: st.DataObject
) -> None:
    broken = running()
    width = 48 if memory is Memory.DENDRITE else 26
    for _ in range(4):
        broken.inject(MemoryBit(at, address, data.draw(st.integers(0, width - 1)), memory=memory))
    broken.step(Events.at(A, 0))
    broken.step(Events.at(A, 0))
    assert broken.activity().steps == 2
    assert broken.health().well


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (CoreDead((0, 0)), "hosts no neurons at"),
        (CoreDead((30, 1)), "hosts no neurons at"),
        (LinkDead(((1, 1), (2, 2))), "name two that are one hop apart"),
        (LinkDead(((23, 1), (24, 1))), "not on it; name a link"),
        (MemoryBit(A, 65536, 0), "no bit 0 of word 65536"),
        (MemoryBit(A, 0, 48), "no bit 48 of word 0"),
        (MembraneBit(B, 2, 0), "no neuron 2 runs on core"),
        (MembraneBit((9, 9), 0, 0), "no neuron 0 runs on core"),
        (MembraneBit(B, 0, 16), "bits 0 to 15"),
        (MembraneBit(B, 0, 1, sample=1), "the run 1 samples"),
    ],
)
def test_a_fault_on_what_does_not_exist_is_refused_and_breaks_nothing(fault: Fault, said: str) -> None:
    whole = running()
    with pytest.raises(UserError, match=said):
        whole.inject(fault)
    assert whole.health().well
    assert arrived(whole) == [8, 10]


@pytest.mark.parametrize("fault", [MemoryBit(B, 1, 3), MembraneBit(B, 0, 14)])
def test_a_flipped_bit_is_not_repaired_but_written(fault: Fault) -> None:
    with pytest.raises(UserError, match="write the word again, or begin"):
        running().repair(fault)
