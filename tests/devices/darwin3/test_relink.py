"""What a dead core costs: the spare that takes over, and cases that were worked out beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.devices.darwin3.compile import compile_stage
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.limits import ChipLimits, chip
from synfire.devices.darwin3.linked import Relinked
from synfire.devices.darwin3.relink import preload, prepare, relink
from synfire.devices.darwin3.site import Site
from synfire.devices.darwin3.spare import spare_core
from synfire.devices.darwin3.words import Coordinate
from synfire.testing.darwin3_reference import random_stage

LIMITS = chip()
SHORT = replace(LIMITS, neurons_per_core=8, dendrite_words={"big": 1024, "little": 128}, reach=4)
"""Small cores, and axons that reach four hops."""


def same_writes(one: Relinked, other: Relinked) -> bool:
    return len(one.writes) == len(other.writes) and all(
        (a.core, a.memory, a.address) == (b.core, b.memory, b.address) and np.array_equal(a.words, b.words)
        for a, b in zip(one.writes, other.writes, strict=True)
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), limits=st.sampled_from([LIMITS, SHORT]))
def test_the_spare_core_is_the_nearest_that_is_large_enough_and_within_reach(
    data: st.DataObject, seed: int, limits: ChipLimits
) -> None:
    linked = compile_stage(random_stage(seed), limits).linked
    table, places = linked.table, linked.places
    piece, dead = data.draw(st.sampled_from(sorted(places.items())))
    taken = {*linked.cores, *data.draw(st.sets(st.sampled_from(list(limits.hosts())), max_size=300))}
    site = Site(limits, Health(dead_cores=(dead,)))
    senders = {other for name in table.sources(piece[0]) for other in table.pieces(name)}
    ends = [places[each] for each in {*senders, *table.targets[piece[0]]} - {piece}]

    def rank(core: Coordinate) -> tuple[bool, float, Coordinate]:
        pulls = [((0, 0) if other is None else places[other], spikes) for other, spikes in table.pulls[piece]]
        cost = sum(spikes * (abs(core[0] - x) + abs(core[1] - y)) for (x, y), spikes in pulls)
        return not all(limits.within_reach(core, end) for end in ends), round(cost, 6), core

    large = [core for core in site.free() if core not in taken and site.room(core) >= table.dendrite_words(piece)]
    found = spare_core(table, piece, places, site, taken)
    assert found in large
    assert rank(found)[:2] == min(map(rank, large))[:2]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_case_that_was_prepared_is_what_relinking_would_give(seed: int) -> None:
    linked = compile_stage(random_stage(seed), LIMITS).linked
    for piece in list(linked.places)[:3]:
        linked = preload(linked, piece).linked
    prepared = prepare(linked)
    waiting = {linked.places[each.piece] for each in linked.loaded.values()}
    assert {health.dead_cores for health in prepared.cases} == {(core,) for core in waiting}
    for health, case in prepared.cases.items():
        assert prepared.relink(health) is case
        assert same_writes(case, relink(linked, health))


def test_what_nobody_prepared_for_is_worked_out_then() -> None:
    linked = compile_stage(random_stage(4), LIMITS).linked
    first, second = list(linked.places)[:2]
    prepared = prepare(preload(linked, first).linked)
    both = Health(dead_cores=tuple(sorted((linked.places[first], linked.places[second]))))
    found = prepared.relink(both)
    assert set(found.moved) == {first, second}
    assert same_writes(found, relink(prepared.linked, both))


def test_pieces_that_a_dead_core_does_not_concern_keep_the_words_that_they_have() -> None:
    linked = compile_stage(random_stage(4), LIMITS).linked
    piece, dead = next(iter(linked.places.items()))
    after = relink(linked, Health(dead_cores=(dead,))).linked
    senders = {other for name in linked.table.sources(piece[0]) for other in linked.table.pieces(name)}
    kept = set(linked.places) - senders - {piece}
    assert all(after.cores[linked.places[each]] is linked.cores[linked.places[each]] for each in kept)
