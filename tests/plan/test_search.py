from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_graphs import chain, conv, graphs, vgg

from synfire.bench.exhaustive import best_of_all
from synfire.graph import Graph
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.mean_rate import MeanRate
from synfire.plan import Costs, Demand, Hop, atoms, memory_bytes, plan_cut, plan_model, predict, rooms
from synfire.plan.search import bound_s, frame_choices

OBJECTIVES = ("latency", "throughput")


def small() -> Graph:
    """A chain that can be cut at five places."""
    between = {"conv1": conv(1, 4), "lif1": LIF(), "conv2": conv(4, 4), "lif2": LIF()}
    return chain({"encoder": ConstantCurrent(4), **between, "flatten": Flatten(), "rate": MeanRate()}, (1, 6, 6))


def costs_of(graph: Graph, seconds: list[float], hop: Hop) -> Costs:
    """Operators of very different weight, so that balance is not trivial."""
    given_s = dict(zip(graph.order(), itertools.cycle(seconds), strict=False))
    return Costs(operator_s=given_s, steps=graph.steps or 4, call_s=5e-5, hop=hop)


weights = st.lists(st.floats(1e-5, 1e-2), min_size=1, max_size=9)
hops = st.builds(Hop, frame_s=st.floats(1e-6, 1e-3), work_s=st.floats(1e-6, 2e-4), request_s=st.just(5e-4))


@settings(max_examples=10)
@given(weights, hops, st.sampled_from(OBJECTIVES))
def test_auto_is_within_a_twentieth_of_the_best_of_all_cuts(seconds: list[float], hop: Hop, objective: str) -> None:
    costs = costs_of(small(), seconds, hop)
    plan = plan_model(Demand("m", small(), costs, objective=objective), rooms(2))
    found_s = plan.latency_s if objective == "latency" else 1 / plan.requests_s
    assert found_s <= 1.05 * best_of_all(small(), costs, objective).seconds


@given(graphs(), weights, hops, st.sampled_from(OBJECTIVES), st.data())
def test_no_way_goes_below_the_bound(
    graph: Graph, seconds: list[float], hop: Hop, objective: str, data: st.DataObject
) -> None:
    costs, fine = costs_of(graph, seconds, hop), atoms(graph)
    bounds = sorted(data.draw(st.sets(st.integers(1, max(1, len(fine) - 1)), max_size=len(fine) - 1)))
    ends = [0, *(at for at in bounds if at < len(fine)), len(fine)]
    groups = [tuple(name for group in fine[a:b] for name in group) for a, b in itertools.pairwise(ends)]
    size = data.draw(st.sampled_from(frame_choices(costs.steps)))
    found = predict(graph, groups, [f"w{i % 2}" for i in range(len(groups))], costs, size)
    least_s = bound_s(graph, costs, len(groups), 2, objective)
    assert found.seconds(objective) >= least_s * (1 - 1e-6)


def test_a_worker_may_run_two_parts_where_that_balances() -> None:
    costs = Costs(operator_s={"conv1": 1.0, "conv2": 3.0, "head": 2.0}, steps=4)
    plan = plan_model(Demand("m", vgg(), costs, objective="throughput"), rooms(2))
    assert [stage.worker for stage in plan.stages] == ["worker-0", "worker-1", "worker-0"]
    assert plan.requests_s == pytest.approx(1 / 3, rel=0.01)


def test_no_worker_gets_more_than_it_may_hold() -> None:
    costs = Costs(operator_s={"conv1": 1.0, "conv2": 3.0, "head": 2.0}, steps=4)
    limit = memory_bytes(vgg(), vgg().order()[:3], 16)  # the first three hold more than all others
    plan = plan_model(Demand("m", vgg(), costs, objective="throughput"), rooms(2, limit))
    for worker in plan.workers:
        assert sum(stage.memory_bytes for stage in plan.stages if stage.worker == worker) <= limit


def test_a_cut_that_was_asked_for_is_kept() -> None:
    halves = (vgg().order()[:4], vgg().order()[4:])
    plan = plan_cut(Demand("m", vgg(), Costs(steps=4)), halves, ("a", "b"))
    assert [(stage.operators, stage.worker) for stage in plan.stages] == [(halves[0], "a"), (halves[1], "b")]
    assert plan.reasons[0] == "2 stages, as they were asked for"
