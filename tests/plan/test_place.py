from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_graphs import graphs, vgg

from synfire.base.errors import UserError
from synfire.graph import Graph
from synfire.plan import Costs, Hop, Room, Work, assumed, atoms, memory_bytes, place, rooms


def bottleneck_s(graph: Graph, groups: tuple[tuple[str, ...], ...], placed: tuple[str, ...], costs: Costs) -> float:
    """The busiest worker's seconds when hops are free."""
    times: dict[str, float] = {}
    for group, worker in zip(groups, placed, strict=True):
        times[worker] = times.get(worker, 0.0) + costs.block_s(group, 1)
    return max(times.values())


def test_two_workers_share_the_work_of_a_chain_evenly() -> None:
    graph = vgg()
    groups = atoms(graph)
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 1.0), hop=Hop(frame_s=0, byte_s=0))
    assert place(graph, groups, rooms(2), Work(costs)) == ("worker-0",) * 4 + ("worker-1",) * 5


def test_a_worker_that_is_busy_with_other_models_gets_less() -> None:
    graph = vgg()
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 1.0), hop=Hop(frame_s=0, byte_s=0))
    placed = place(graph, atoms(graph), rooms(2), Work(costs, load_s={"worker-0": 4.0}))
    assert placed.count("worker-0") < placed.count("worker-1")


def test_a_cut_that_costs_more_than_it_saves_is_not_made_by_placement() -> None:
    graph = vgg()
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 1e-6), hop=Hop(frame_s=1.0))
    assert len(set(place(graph, atoms(graph), rooms(4), Work(costs)))) == 1


def test_spreading_uses_every_worker_that_can_get_a_stage() -> None:
    graph = vgg()
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 1e-6), hop=Hop(frame_s=1.0))
    assert len(set(place(graph, atoms(graph), rooms(4), Work(costs, spread=True)))) == 4
    assert len(set(place(graph, atoms(graph), rooms(20), Work(costs, spread=True)))) == len(atoms(graph))


def test_too_little_memory_is_refused_with_the_sizes() -> None:
    graph = vgg()
    with pytest.raises(UserError, match=r"need .* kB of memory.*worker-0 100 B.*add workers"):
        place(graph, atoms(graph), rooms(2, memory_bytes=100), Work(assumed(graph)))


def test_no_worker_is_refused() -> None:
    with pytest.raises(UserError, match="ask for 1 or more"):
        rooms(0)


@given(graphs(), st.integers(1, 4), st.integers(0, 3000))
def test_memory_limits_are_kept(graph: Graph, count: int, limit: int) -> None:
    groups = atoms(graph)
    try:
        placed = place(graph, groups, rooms(count, memory_bytes=limit), Work(assumed(graph)))
    except UserError:
        return
    for worker in set(placed):
        mine = [group for group, each in zip(groups, placed, strict=True) if each == worker]
        assert sum(memory_bytes(graph, group) for group in mine) <= limit


@given(graphs(), st.integers(1, 3))
def test_no_contiguous_placement_has_a_less_busy_bottleneck(graph: Graph, count: int) -> None:
    groups = atoms(graph)
    costs = Costs(operator_s=assumed(graph).operator_s, hop=Hop(frame_s=0, byte_s=0))
    placed = place(graph, groups, rooms(count), Work(costs))
    bounds = itertools.combinations_with_replacement(range(len(groups) + 1), count - 1)
    others = [tuple(f"worker-{sum(i >= bound for bound in cuts)}" for i in range(len(groups))) for cuts in bounds]
    best = min(bottleneck_s(graph, groups, each, costs) for each in others)
    assert bottleneck_s(graph, groups, placed, costs) == pytest.approx(best)


@given(graphs(), st.integers(1, 4))
def test_a_workers_stages_follow_each_other(graph: Graph, count: int) -> None:
    placed = place(graph, atoms(graph), rooms(count), Work(assumed(graph)))
    runs = [worker for worker, _ in itertools.groupby(placed)]
    assert len(runs) == len(set(runs))


def test_rooms_are_told_apart_by_number() -> None:
    assert rooms(2, 5) == (Room("worker-0", "cpu", 5), Room("worker-1", "cpu", 5))
