"""Pieces are put on cores that can hold them, near to what they exchange spikes with."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.place import HILBERT, PORT, ZIGZAG, Block, nearest, place, traffic
from synfire.devices.darwin3.words import Coordinate, Memory

LIMITS = chip()
ALL = list(LIMITS.hosts())


def layers(count: int, width: int) -> tuple[list[Block], dict[tuple[str, str], float]]:
    names = [[f"{layer}.{i}" for i in range(width)] for layer in range(count)]
    flows = {(a, b): 10.0 for one, two in itertools.pairwise(names) for a in one for b in two}
    flows |= {(PORT, a): 5.0 for a in names[0]}
    return [Block(name, 1000) for row in names for name in row], flows


def room(core: Coordinate) -> int:
    return LIMITS.memory_words(Memory.DENDRITE, LIMITS.kind_at(*core))


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 65_536), min_size=1, max_size=60),
    dead=st.sets(st.sampled_from(ALL), max_size=100),
    ends=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59), st.floats(0.1, 100)), max_size=120),
    start=st.sampled_from([HILBERT, ZIGZAG]),
)
def test_every_piece_gets_a_core_of_its_own_that_is_free_and_large_enough(
    sizes: list[int], dead: set[Coordinate], ends: list[tuple[int, int, float]], start: str
) -> None:
    blocks = [Block(str(i), size) for i, size in enumerate(sizes)]
    flows = {(str(a), str(b)): w for a, b, w in ends if a < len(sizes) and b < len(sizes)}
    free = [core for core in ALL if core not in dead]
    raw = place(blocks, flows, LIMITS, free, start, refine=False)
    placed = place(blocks, flows, LIMITS, free, start)
    for found in (raw, placed):
        assert len(set(found.values())) == len(blocks)
        assert not dead & set(found.values())
        assert all(room(found[each.name]) >= each.dendrite_words for each in blocks)
    assert traffic(placed, flows, LIMITS).spike_hops <= traffic(raw, flows, LIMITS).spike_hops + 1e-6


def test_forces_shorten_the_way_and_unload_the_busiest_link() -> None:
    blocks, flows = layers(6, 8)
    zigzag = traffic(place(blocks, flows, LIMITS, ALL, ZIGZAG, refine=False), flows, LIMITS)
    refined = traffic(place(blocks, flows, LIMITS, ALL, HILBERT), flows, LIMITS)
    assert refined.spike_hops < 0.6 * zigzag.spike_hops
    assert refined.busiest_link < zigzag.busiest_link


def test_a_chain_is_laid_out_core_by_core() -> None:
    blocks = [Block(str(i), 10) for i in range(20)]
    flows = {(str(i), str(i + 1)): 1.0 for i in range(19)}
    found = traffic(place(blocks, flows, LIMITS, ALL), flows, LIMITS)
    assert found.mean_hops == 1.0
    assert found.busiest_link == 1.0


def test_both_curves_go_from_neighbour_to_neighbour() -> None:
    blocks = [Block(str(i), 1) for i in range(100)]
    for start in (HILBERT, ZIGZAG):
        placed = place(blocks, {}, LIMITS, ALL, start, refine=False)
        steps = [
            abs(placed[str(i)][0] - placed[str(i + 1)][0]) + abs(placed[str(i)][1] - placed[str(i + 1)][1])
            for i in range(99)
        ]
        assert steps.count(1) >= 95


def test_small_pieces_leave_large_cores_to_those_that_need_them() -> None:
    big = [core for core in ALL if room(core) > 8192][:3]
    little = [core for core in ALL if room(core) == 8192][:3]
    blocks = [
        Block("s0", 10),
        Block("s1", 10),
        Block("s2", 10),
        Block("b0", 60_000),
        Block("b1", 60_000),
        Block("b2", 60_000),
    ]
    placed = place(blocks, {}, LIMITS, sorted(big + little))
    assert {placed[f"b{i}"] for i in range(3)} == set(big)


def test_too_few_cores_are_refused_with_the_numbers() -> None:
    blocks = [Block(str(i), 60_000) for i in range(3)]
    free = [(1, 0), (2, 0), (3, 0)]  # one large core, two small ones
    with pytest.raises(
        UserError, match=r"3 pieces, the largest of 60000 .* 3 free cores of 8192 .* 1 free cores of 65536"
    ):
        place(blocks, {}, LIMITS, free)


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(UserError, match="choose one of hilbert, zigzag"):
        place([Block("a", 1)], {}, LIMITS, ALL, "spiral")


def test_traffic_follows_x_then_y() -> None:
    found = traffic({"a": (2, 0), "b": (4, 3), "c": (4, 1)}, {("a", "b"): 2.0, ("a", "c"): 1.0}, LIMITS)
    assert found.spike_hops == 2 * 5 + 1 * 3
    assert found.busiest_link == 3.0  # both share the way to (4, 1)


def test_nearest_orders_by_weighted_hops() -> None:
    assert nearest([((0, 5), 1.0), ((10, 5), 3.0)], [(0, 5), (9, 5), (5, 5)]) == [(9, 5), (5, 5), (0, 5)]
