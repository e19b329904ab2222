"""Faults by name and place: what is drawn is in use, what is named is what breaks, and when."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.devices.darwin3.cache import ImageCache
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled, compile_stage
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Damage, Fault, Health, LinkDead, MembraneBit, MemoryBit
from synfire.devices.darwin3.injection import KINDS, Place, Target, describe, fault_of, named
from synfire.devices.darwin3.known import testable as can_be_tested
from synfire.devices.darwin3.known import wrong_pieces
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.mesh import route
from synfire.devices.darwin3.relink import relink
from synfire.devices.darwin3.words import Memory
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear

LIMITS = chip()


def network() -> Graph:
    """A convolution and two linear layers, each on a core of its own."""
    rng = np.random.default_rng(0)
    operators = {
        "conv": Conv2d(rng.normal(0, 0.4, (5, 2, 3, 3)), np.full(5, 0.2), padding=(1, 1, 1, 1)),
        "lif": LIF(),
        "flat": Flatten(),
        "fc": Linear(rng.normal(0, 0.3, (7, 80)), rng.normal(0, 0.1, 7)),
        "mid": LIF(),
        "last": Linear(rng.normal(0, 0.3, (6, 7)), np.zeros(6)),
        "out": LIF(),
    }
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": Signal((2, 4, 4), Kind.SPIKE)}, {"y": "out"})


COMPILED = compile_stage(network(), LIMITS, cache=ImageCache())


@pytest.fixture
def compiled() -> Compiled:
    return COMPILED


def target(compiled: Compiled, seed: int = 0) -> Target:
    made = Chip(LIMITS)
    for write in compiled.linked.writes():
        made.configure(write.core, write.memory, write.address, write.words)
    made.begin()
    return Target(made, compiled.linked, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_is_in_use_and_can_break(compiled: Compiled, kind: str, seed: int) -> None:
    at = target(compiled, seed)
    fault = fault_of(kind, "", at)
    at.chip.inject(fault)
    homes = set(compiled.linked.places.values())
    if isinstance(fault, CoreDead | MemoryBit | MembraneBit):
        assert fault.core in homes
    assert describe(fault)
    assert at.chip.health().well is isinstance(fault, MemoryBit | MembraneBit)


@given(seed=st.integers(0, 10_000))
def test_a_drawn_bit_of_a_weight_makes_its_core_answer_wrong(seed: int) -> None:
    at = target(COMPILED, seed)
    fault = fault_of("weight-bit", "", at)
    assert isinstance(fault, MemoryBit)
    at.chip.inject(fault)
    (piece,) = [piece for piece, core in COMPILED.linked.places.items() if core == fault.core]
    assert wrong_pieces(at.chip, COMPILED.linked, piece[0]) == [piece]


@pytest.mark.parametrize(
    ("kind", "place", "wanted"),
    [
        ("core-dead", "3,4", CoreDead((3, 4))),
        ("mesh-link-dead", "3,4-3,5", LinkDead(((3, 4), (3, 5)))),
        ("chip-dead", "", ChipDead()),
        ("weight-bit", "3,4@100.47", MemoryBit((3, 4), 100, 47)),
    ],
)
def test_what_is_named_breaks(compiled: Compiled, kind: str, place: str, wanted: Fault) -> None:
    assert fault_of(kind, place, target(compiled)) == wanted
    assert all(part in describe(wanted) for part in place.replace("@", "-").replace(".", "-").split("-"))


@pytest.mark.parametrize("bit", [0, 5])
def test_a_stuck_bit_is_held_at_the_value_that_it_has_not(compiled: Compiled, bit: int) -> None:
    at = target(compiled)
    core = compiled.linked.places["mid", 0]
    before = int(at.chip.read(core, Memory.DENDRITE, 40, 1)[0]) >> bit & 1
    fault = fault_of("weight-bit", f"{named(core)}@40.{bit}", at, stuck=True)
    assert fault == MemoryBit(core, 40, bit, Damage.STUCK_AT_0 if before else Damage.STUCK_AT_1)
    with pytest.raises(UserError, match="leave out --stuck"):
        fault_of("membrane-bit", "", at, stuck=True)


def test_an_empty_place_is_none() -> None:
    assert Place.of("") is None
    assert Place.of("1,2") == Place((1, 2))


def test_a_fault_may_strike_some_steps_later(compiled: Compiled) -> None:
    running = target(compiled).chip
    since = running.reported_s
    running.inject(CoreDead((5, 5)), after_steps=2)
    running.step()
    assert running.health().well
    assert running.reported_s == since
    running.step()
    assert running.health() == Health(dead_cores=((5, 5),))
    assert running.reported_s > since
    with pytest.raises(UserError, match="hosts no neurons"):
        running.inject(CoreDead((0, 0)), after_steps=2)


def test_health_is_news_only_when_something_changes(compiled: Compiled) -> None:
    running = target(compiled).chip
    first = running.health()
    running.inject(MemoryBit((5, 5), 0, 0))
    assert running.health() is first
    running.inject(CoreDead((5, 5)))
    dead = running.health()
    assert dead is not first
    running.inject(CoreDead((5, 5)))
    assert running.health() is dead
    running.repair(CoreDead((5, 5)))
    assert running.health() == first


def test_past_a_dead_link_only_what_the_host_feeds_can_be_tested_alone(compiled: Compiled) -> None:
    assert all(can_be_tested(compiled.linked, name) for name in compiled.images)
    for name, alone in (("lif", True), ("mid", False)):  # the first is fed by the host alone: the input, and its bias
        at = target(compiled)
        at.chip.inject(LinkDead(route((0, 0), compiled.linked.places[name, 0])[-1]))
        relinked = relink(compiled.linked, at.chip.health()).linked
        assert ((0, 0), relinked.places[name, 0]) in relinked.relays
        assert can_be_tested(relinked, name) is alone


def test_an_image_without_a_known_answer_cannot_be_tested() -> None:
    plain = compile_stage(network(), LIMITS)
    assert not any(can_be_tested(plain.linked, name) for name in plain.images)
