"""Linking binds images to cores; after a fault, only the words that must change do, and the chip goes on bit for bit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled, Options, compile_stage
from synfire.devices.darwin3.faults import CoreDead, Health, LinkDead
from synfire.devices.darwin3.limits import ChipLimits, chip
from synfire.devices.darwin3.link import bind, link
from synfire.devices.darwin3.linked import Linked, Relinked
from synfire.devices.darwin3.relink import preload, relink
from synfire.devices.darwin3.site import Site
from synfire.devices.darwin3.symbols import symbols
from synfire.devices.darwin3.words import Coordinate, Memory, read_axon_entries
from synfire.engines.darwin3 import Darwin3Program
from synfire.graph import Graph
from synfire.ops import Array
from synfire.testing.darwin3 import wide_network
from synfire.testing.darwin3_reference import random_stage

LIMITS = chip()
CUT = replace(LIMITS, neurons_per_core=8, dendrite_words={"big": 1024, "little": 128})
"""A chip of small cores: small networks fill many of them."""

SHORT = replace(CUT, reach=4)
"""Where axons reach only four hops, relays are common."""


def run(
    graph: Graph, compiled: Compiled, linked: Linked, faults: Iterable[CoreDead | LinkDead] = ()
) -> dict[str, Array]:
    """The stage's outputs on a fresh chip with these faults, loaded with that linking."""
    program = Darwin3Program(graph, replace(compiled, linked=linked))
    for fault in faults:
        program.chip.inject(fault)
    if program.ailing:
        assert program.recover().words == 0  # already linked around
    return outputs(program)


def outputs(program: Darwin3Program) -> dict[str, Array]:
    """What the program answers to random spikes."""
    ((name, signal),) = program.inputs.items()
    x = (np.random.default_rng(0).random((4, 3, *signal.shape)) < 0.4).astype(np.uint8)
    return program.run(program.initial_state(3), {name: x}, 4)[1]


def assert_same(got: dict[str, Array], wanted: dict[str, Array]) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)


def written(linked: Linked) -> Chip:
    found = Chip(linked.limits)
    for write in linked.writes():
        found.configure(write.core, write.memory, write.address, write.words)
    return found


def predecessors(linked: Linked, core: Coordinate) -> set[Coordinate]:
    """The cores whose axons name a core."""
    found = set()
    for other, image in linked.cores.items():
        neurons = int(image.register[0])
        dx, dy, _, _ = read_axon_entries(image.axon[neurons:])
        if core in {(other[0] + x, other[1] + y) for x, y in zip(dx.tolist(), dy.tolist(), strict=True)}:
            found.add(other)
    return found


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), limits=st.sampled_from([LIMITS, CUT]))
def test_after_a_dead_core_no_other_word_changes_and_the_chip_behaves_the_same(
    data: st.DataObject, seed: int, limits: ChipLimits
) -> None:
    graph = random_stage(seed)
    compiled = compile_stage(graph, limits)
    before = compiled.linked
    piece, dead = data.draw(st.sampled_from(sorted(before.places.items())))
    relinked = relink(before, Health(dead_cores=(dead,)))
    ((moved, (old, new)),) = relinked.moved.items()
    assert (moved, old) == (piece, dead)
    chip_ = written(before)
    for write in relinked.writes:
        chip_.configure(write.core, write.memory, write.address, write.words)
    allowed = predecessors(before, dead) - {dead}
    for core, image in before.cores.items():
        for memory in Memory:
            if core == dead or (core in allowed and memory is Memory.AXON):
                continue
            found, wanted = chip_.read(core, memory), written(before).read(core, memory)
            assert np.array_equal(found, wanted), f"{memory} of {core} changed"
        if core in allowed:
            changed = np.flatnonzero(chip_.read(core, Memory.AXON) != image.axon)
            named = read_axon_entries(image.axon[changed])
            assert len(changed) == 0 or {(core[0] + x, core[1] + y) for x, y in zip(*named[:2], strict=True)} == {dead}
    assert {write.core for write in relinked.writes} <= allowed | {new}
    assert_same(run(graph, compiled, relinked.linked, [CoreDead(dead)]), run(graph, compiled, before))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_the_writes_of_a_relink_are_exactly_the_difference_to_linking_there(data: st.DataObject, seed: int) -> None:
    compiled = compile_stage(random_stage(seed), CUT)
    dead = data.draw(st.sampled_from(sorted(compiled.linked.places.values())))
    relinked = relink(compiled.linked, Health(dead_cores=(dead,)))
    patched = written(compiled.linked)
    for write in relinked.writes:
        patched.configure(write.core, write.memory, write.address, write.words)
    whole = written(bind(compiled.linked.table, relinked.linked.site, relinked.linked.places))
    for core in relinked.linked.cores:
        for memory in Memory:
            assert np.array_equal(patched.read(core, memory), whole.read(core, memory))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_dead_cores_and_links_one_after_the_other_are_survived(data: st.DataObject, seed: int) -> None:
    graph = random_stage(seed)
    compiled = compile_stage(graph, SHORT, Options(as_toolchain=data.draw(st.booleans())))
    wanted, program = run(graph, compiled, compiled.linked), Darwin3Program(graph, compiled)
    for _ in range(3):
        core = data.draw(st.sampled_from(sorted(program.compiled.linked.cores)))
        cut = LinkDead((core, (core[0] + 1, core[1])))
        program.chip.inject(CoreDead(core) if data.draw(st.booleans()) else cut)
        try:
            program.recover()
        except UserError as error:
            assume("cannot send" not in str(error))  # so many faults in one corner may leave no way
            raise
        assert not set(program.compiled.linked.cores) & set(program.chip.health().dead_cores)
        assert_same(outputs(program), wanted)


def test_a_relink_of_a_hundred_cores_writes_little_more_than_the_moved_one() -> None:
    compiled = compile_stage(wide_network(), LIMITS)
    before = compiled.linked
    assert len(before.places) >= 100
    for dead in list(before.places.values())[::16]:
        relinked = relink(before, Health(dead_cores=(dead,)))
        assert relinked.words <= 1.1 * before.cores[dead].size
        assert relinked.words <= 0.02 * before.words


def test_far_cores_are_joined_by_a_relay() -> None:
    graph = random_stage(4)
    compiled = compile_stage(graph, LIMITS)
    corners = [core for k in range(6) for core in ((23 - k, 23), (1 + k, 0), (23 - k, 0), (k, 23))]
    places = dict(zip(compiled.linked.places, corners, strict=False))
    assert places.keys() == compiled.linked.places.keys()
    linked = bind(compiled.linked.table, Site(LIMITS), places)
    assert linked.relays
    assert all(not set(way) & set(places.values()) for way in linked.relays.values())
    assert_same(run(graph, compiled, linked), run(graph, compiled, compiled.linked))


def test_what_no_relay_reaches_is_refused_with_the_numbers() -> None:
    compiled = compile_stage(random_stage(4), LIMITS)
    near = [core for core in LIMITS.hosts() if core[0] < 5 and core[1] < 5]
    places = dict(zip(compiled.linked.places, [(23, 23), *near], strict=False))
    others = set(LIMITS.hosts()) - set(places.values())
    with pytest.raises(
        UserError,
        match=r"no spare core can take|22 and 23 hops apart in x and y, an axon reaches 15, and none of 0 free",
    ):
        bind(compiled.linked.table, Site(LIMITS, occupied=frozenset(others)), places)


def test_a_chip_without_a_spare_core_says_so_and_nothing_changes() -> None:
    compiled = compile_stage(random_stage(4), LIMITS)
    linked = replace(compiled.linked, site=Site(LIMITS, occupied=frozenset(LIMITS.hosts())))
    dead = next(iter(linked.places.values()))
    with pytest.raises(
        UserError, match=r"no spare core can take .* dendrite words: 0 smaller cores are free; free a larger one"
    ):
        relink(linked, Health(dead_cores=(dead,)))


def test_occupied_and_dead_cores_are_left_alone() -> None:
    occupied = {core for core in LIMITS.hosts() if core[0] < 3}
    dead = tuple(core for core in LIMITS.hosts() if core[1] < 3)
    compiled = compile_stage(random_stage(4), LIMITS, occupied=occupied, health=Health(dead_cores=dead))
    assert not set(compiled.linked.cores) & (occupied | set(dead))
    relinked = relink(compiled.linked, Health(dead_cores=(*dead, next(iter(compiled.linked.cores)))))
    assert not set(relinked.linked.cores) & (occupied | set(dead))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_spare_that_is_loaded_takes_over_for_a_handful_of_words(data: st.DataObject, seed: int) -> None:
    graph = random_stage(seed)
    program = Darwin3Program(graph, compile_stage(graph, CUT))
    wanted, before = outputs(program), program.compiled.linked
    piece, dead = data.draw(st.sampled_from(sorted(before.places.items())))
    program.adopt(preload(before, piece))
    spare = program.compiled.linked.spare_for(piece)
    assert_same(outputs(program), wanted)  # a waiting spare does nothing
    program.chip.inject(CoreDead(dead))
    relinked = program.recover()
    assert relinked.moved == {piece: (dead, spare)}
    own = [write for write in relinked.writes if write.core == spare]
    assert sum(len(write.words) for write in own) == 1
    assert program.compiled.linked.spare_for(piece) is None
    assert_same(outputs(program), wanted)


def test_a_loaded_spare_is_written_anew_for_another_piece_if_nothing_else_is_free() -> None:
    graph = random_stage(4)
    program = Darwin3Program(graph, compile_stage(graph, LIMITS))
    wanted, before = outputs(program), program.compiled.linked
    first, second = list(before.places)[:2]
    program.adopt(preload(before, first))
    spare = program.compiled.linked.spare_for(first)
    full = Site(LIMITS, occupied=frozenset(set(LIMITS.hosts()) - {spare, *before.cores}))
    program.adopt(Relinked(replace(program.compiled.linked, site=full), {}))
    program.chip.inject(CoreDead(before.places[second]))
    assert program.recover().moved == {second: (before.places[second], spare)}
    assert_same(outputs(program), wanted)


def test_a_core_that_dead_links_cut_off_is_left_and_turned_off() -> None:
    graph = random_stage(4)
    corner = {core for core in LIMITS.hosts() if max(core) < 4}
    compiled = compile_stage(graph, LIMITS, occupied=corner)
    program = Darwin3Program(graph, compiled)
    core = next(iter(compiled.linked.cores))
    around = [(core[0] + 1, core[1]), (core[0] - 1, core[1]), (core[0], core[1] + 1), (core[0], core[1] - 1)]
    for end in around:
        if LIMITS.on_mesh(*end):
            program.chip.inject(LinkDead((core, end)))
    relinked = program.recover()
    assert core not in relinked.linked.cores
    assert core not in program.chip.cores
    assert_same(
        run(graph, compiled, relinked.linked, [LinkDead(each) for each in program.chip.health().dead_links]),
        run(graph, compiled, compiled.linked),
    )


def test_health_that_touches_nothing_costs_nothing() -> None:
    compiled = compile_stage(random_stage(4), LIMITS)
    relinked: Relinked = relink(compiled.linked, Health(dead_cores=((20, 20),)))
    assert (relinked.moved, relinked.words) == ({}, 0)


def test_slots_have_to_be_bound_to_what_they_were_compiled_for() -> None:
    linkables = dict(compile_stage(random_stage(4), LIMITS).linked.linkables)
    name = next(name for name, each in linkables.items() if set(each.sources) & set(linkables))
    with pytest.raises(UserError, match="bind one each"):
        symbols({**linkables, name: replace(linkables[name], sources=())}, LIMITS)
    wrong = tuple(name if source in linkables else source for source in linkables[name].sources)
    if linkables[name].image.layout.size not in {slot.size for slot in linkables[name].image.slots}:
        with pytest.raises(UserError, match="bind the slot to the operator that it was compiled for"):
            symbols({**linkables, name: replace(linkables[name], sources=wrong)}, LIMITS)


def test_linking_again_keeps_healthy_pieces_where_they_are() -> None:
    compiled = compile_stage(random_stage(4), LIMITS)
    again = link(compiled.linked.linkables, LIMITS, previous=compiled.linked)
    assert again.places == compiled.linked.places
