"""What breaks on an emulated chip is reported or found, and mended; the answers stay those of the undisturbed chip."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synfire.base.errors import UnknownName, UserError
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Damage, LinkDead, MemoryBit
from synfire.devices.darwin3.words import Memory
from synfire.devices.mending import DeviceFault, DeviceLost, FaultOrder, Mending
from synfire.engines.darwin3 import Darwin3Engine, Darwin3Program
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.darwin3_reference import random_stage

STEPS = 4


def layers(count: int = 3, width: int = 24, seed: int = 0) -> Graph:
    """Linear layers with neurons, one core each."""
    rng = np.random.default_rng(seed)
    operators = {}
    for layer in range(count):
        operators[f"fc{layer}"] = Linear(rng.normal(0, 0.5, (width, width)), rng.normal(0, 0.1, width))
        operators[f"lif{layer}"] = LIF()
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": Signal((width,), Kind.SPIKE)}, {"y": names[-1]})


def built(graph: Graph) -> Darwin3Program:
    program = Darwin3Engine().build(graph)
    assert isinstance(program, Darwin3Program)
    program.warm()
    return program


def answer(program: Darwin3Program, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    inputs = {name: (rng.random((STEPS, 2, *s.shape)) < 0.4).astype(np.uint8) for name, s in program.inputs.items()}
    state, outputs = program.run(program.initial_state(2), inputs, STEPS)
    return {**state, **outputs}


def assert_same(got: dict[str, Array], wanted: dict[str, Array]) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].tobytes() == array.tobytes()


def names_of(mending: Mending) -> list[str]:
    return [span.name for span in mending.spans]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), after=st.integers(1, STEPS))
def test_a_core_that_dies_while_a_block_runs_voids_the_block_and_the_replay_is_right(seed: int, after: int) -> None:
    program = built(random_stage(seed))
    wanted = answer(program)
    home = sorted(program.compiled.linked.places.values())[seed % len(program.compiled.linked.places)]
    program.chip.inject(CoreDead(home), after_steps=after)
    with pytest.raises(DeviceFault, match="mend it and compute the block again"):
        answer(program)
    with pytest.raises(DeviceFault, match=f"core dead: core {home[0]},{home[1]}; mend"):
        answer(program)
    mending = program.mend()
    assert not program.ailing
    assert (mending.cause, mending.target) == ("core dead", f"core {home[0]},{home[1]}")
    assert home not in program.compiled.linked.cores
    assert_same(answer(program), wanted)


def test_a_mending_tells_what_moved_in_which_steps_and_how_many_bytes() -> None:
    program = built(layers())
    home = program.compiled.linked.places["lif1", 0]
    own = program.compiled.linked.cores[home].size
    before = program.chip.written_bytes
    program.chip.inject(CoreDead(home))
    mending = program.mend()
    new = program.compiled.linked.places["lif1", 0]
    assert mending.detail == f"lif1#0 moved from {home[0]},{home[1]} to {new[0]},{new[1]}"
    assert names_of(mending) == ["detect", "adopt", "relink", "verify"]
    for one, next_ in itertools.pairwise(mending.spans):
        assert one.began_s <= one.ended_s == next_.began_s
    assert mending.bytes_written == program.chip.written_bytes - before
    assert 16 * own <= mending.bytes_written <= 1.1 * 16 * own


def test_cores_may_die_one_after_the_other() -> None:
    program = built(layers())
    wanted = answer(program)
    for _ in range(12):
        program.inject(FaultOrder("core-dead"))
        program.mend()
        assert_same(answer(program), wanted)
    assert len(program.chip.health().dead_cores) == 12


def test_a_dead_link_is_gone_round() -> None:
    program = built(layers(4))
    wanted = answer(program)
    for seed in range(4):
        program.inject(FaultOrder("mesh-link-dead", seed=seed))
        mending = program.mend()
        assert mending.cause == "mesh link dead"
        assert_same(answer(program), wanted)


def test_what_nothing_used_may_break_at_no_cost() -> None:
    program = built(layers())
    wanted = answer(program)
    program.chip.inject(CoreDead((20, 20)))
    assert program.ailing
    mending = program.mend()
    assert (mending.detail, mending.bytes_written) == ("nothing used it", 0)
    program.chip.inject(LinkDead(((20, 20), (20, 21))))
    assert program.mend().detail == "nothing used it"
    assert_same(answer(program), wanted)


def test_a_sound_chip_is_left_as_it_is() -> None:
    program = built(layers())
    before = program.chip.written_bytes
    assert program.examine() is None
    assert program.chip.written_bytes == before


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stuck=st.booleans())
@example(seed=59843320, stuck=False)  # a reset hides what this weight adds
def test_a_wrong_weight_is_found_and_written_again_or_left_behind(seed: int, stuck: bool) -> None:
    program = built(layers())
    wanted = answer(program)
    places = dict(program.compiled.linked.places)
    program.inject(FaultOrder("weight-bit", seed=seed, stuck=stuck))
    assert not program.ailing  # no hardware tells
    mending = program.examine()
    assert mending is not None
    assert mending.cause == "corruption"
    assert ("moved from" if stuck else "written again") in mending.detail
    assert (program.compiled.linked.places == places) is not stuck
    assert set(program.chip.cores) == set(program.compiled.linked.cores)  # what was left runs nothing any more
    assert_same(answer(program), wanted)
    assert program.examine() is None


@pytest.mark.parametrize("damage", [Damage.FLIPPED, Damage.STUCK_AT_0, Damage.STUCK_AT_1])
def test_an_axon_that_leads_astray_is_found_by_the_answer_of_the_whole(damage: Damage) -> None:
    program = built(layers())
    wanted = answer(program)
    core = program.compiled.linked.places["lif0", 0]
    last = len(program.compiled.linked.cores[core].axon) - 1
    word = int(program.chip.read(core, Memory.AXON, last, 1)[0])
    wanted_bit = damage is Damage.STUCK_AT_0
    bit = next(bit for bit in range(25) if bool(word >> bit & 1) is wanted_bit)
    program.chip.inject(MemoryBit(core, last, bit, damage, Memory.AXON))
    mending = program.examine()
    assert mending is not None
    assert mending.cause == "corruption"
    assert_same(answer(program), wanted)


def test_a_spare_core_that_is_wrong_itself_is_passed_over() -> None:
    program = built(layers())
    wanted = answer(program)
    home = program.compiled.linked.places["lif1", 0]
    program.chip.inject(CoreDead(home))
    heir = built_like(program, home)
    for bit in range(40, 48):
        program.chip.inject(MemoryBit(heir, 30, bit, Damage.STUCK_AT_0))
    mending = program.mend()
    assert program.compiled.linked.places["lif1", 0] not in (home, heir)
    assert mending.cause == "core dead"
    assert_same(answer(program), wanted)


def built_like(program: Darwin3Program, dead: tuple[int, int]) -> tuple[int, int]:
    """Where a program of the same stage moves its operator to when that core dies."""
    other = built(program.graph)
    other.chip.inject(CoreDead(dead))
    other.mend()
    return other.compiled.linked.places["lif1", 0]


def test_a_flipped_membrane_harms_the_block_that_it_hits_and_none_after() -> None:
    program = built(layers())
    wanted = answer(program)
    places = sorted(program.compiled.linked.places.values())
    harmed = 0
    for seed in range(12):
        core = places[seed % len(places)]
        program.inject(FaultOrder("membrane-bit", f"{core[0]},{core[1]}@{seed}.14", seed))
        hit = answer(program)
        harmed += any(hit[name].tobytes() != wanted[name].tobytes() for name in wanted)
        assert program.examine() is None
        assert_same(answer(program), wanted)
    assert harmed >= 6


def test_a_dead_chip_is_lost() -> None:
    program = built(layers())
    program.chip.inject(ChipDead(), after_steps=2)
    with pytest.raises(DeviceFault):
        answer(program)
    with pytest.raises(DeviceLost, match="the chip answers nothing any more") as lost:
        program.mend()
    assert (lost.value.cause, lost.value.target) == ("chip dead", "the chip")
    with pytest.raises(DeviceFault):
        answer(program)


def test_a_chip_without_a_free_core_is_lost_and_says_why() -> None:
    program = built(layers())
    used = set(program.compiled.linked.cores)
    for core in program.chip.limits.hosts():
        if core not in used:
            program.chip.inject(CoreDead(core))
    program.mend()
    assert not program.ailing
    program.inject(FaultOrder("core-dead"))
    with pytest.raises(DeviceLost, match=r"core \d+,\d+: no spare core can take .* 0 smaller cores are free"):
        program.mend()


@pytest.mark.parametrize(
    ("kind", "place", "error", "message"),
    [
        ("core-ill", "", UnknownName, "no fault of a chip named 'core-ill'; known: chip-dead, core-dead"),
        ("core-dead", "24,0", UserError, r"hosts no neurons at \(24, 0\); its mesh is 24 × 24"),
        ("core-dead", "0,0", UserError, "hosts no neurons"),
        ("core-dead", "here", UserError, "'here' is no place on a chip; write X,Y"),
        ("core-dead", "1,1@3.4", UserError, "a core is named by X,Y alone, such as 1,1"),
        ("mesh-link-dead", "1,1", UserError, "write X,Y-X,Y"),
        ("mesh-link-dead", "1,1-3,1", UserError, "joins neighbours"),
        ("mesh-link-dead", "23,23-24,23", UserError, "is not on it; name a link"),
        ("chip-dead", "1,1", UserError, "leave out the core"),
        ("weight-bit", "20,20", UserError, "core 20,20 holds no weights; those that do: "),
        ("weight-bit", "1,1@3.48", UserError, "a dendrite word has bits 0 to 47, not 48"),
        ("weight-bit", "1,1@70000.4", UserError, "has 65536 words of 48 bits"),
        ("membrane-bit", "20,20@0.1", UserError, "no neuron 0 runs on core"),
    ],
)
def test_a_fault_at_no_place_changes_nothing(kind: str, place: str, error: type[Exception], message: str) -> None:
    program = built(layers())
    wanted = answer(program)
    with pytest.raises(error, match=message):
        program.inject(FaultOrder(kind, place))
    assert program.chip.health().well
    assert program.examine() is None
    assert_same(answer(program), wanted)


def test_what_is_dead_cannot_die_again() -> None:
    program = built(layers())
    program.inject(FaultOrder("core-dead", "5,5"))
    with pytest.raises(UserError, match="core 5,5 is dead already"):
        program.inject(FaultOrder("core-dead", "5,5"))
    program.inject(FaultOrder("mesh-link-dead", "5,5-5,6"))
    with pytest.raises(UserError, match="is dead already; name another"):
        program.inject(FaultOrder("mesh-link-dead", "5,6-5,5"))
    program.inject(FaultOrder("chip-dead"))
    with pytest.raises(UserError, match="the chip is dead"):
        program.inject(FaultOrder("core-dead"))


def test_the_seed_draws_the_same_place_again() -> None:
    drawn = [
        [built(layers()).inject(FaultOrder(kind, seed=9)) for kind in ("weight-bit", "core-dead")] for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
