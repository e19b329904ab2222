from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_graphs import graphs, recurrent, residual, vgg

from synfire.base.errors import UnknownName, UserError
from synfire.graph import Graph
from synfire.plan import (
    GATEWAY,
    GRANULARITIES,
    Costs,
    Demand,
    Hop,
    Plan,
    assumed,
    explain,
    memory_bytes,
    plan_all,
    plan_model,
    rooms,
    stage_graph,
)


def heavy(graph: Graph, seconds: float = 0.01, hop: Hop | None = None) -> Costs:
    """Every operator takes long, so cuts pay."""
    return Costs(operator_s=dict.fromkeys(graph.order(), seconds), steps=graph.steps or 4, hop=hop or Hop())


def light(graph: Graph) -> Costs:
    """Hops take longer than the work, so cuts do not pay."""
    return Costs(operator_s=dict.fromkeys(graph.order(), 1e-6), steps=graph.steps or 4)


def test_auto_does_not_cut_where_a_cut_does_not_pay() -> None:
    plan = plan_model(Demand("m", vgg(), light(vgg())), rooms(4))
    assert len(plan.stages) == 1
    assert "not cut: no cut is predicted to be faster" in explain(plan)


def test_auto_uses_every_worker_where_it_pays() -> None:
    plan = plan_model(Demand("m", vgg(), heavy(vgg())), rooms(3))
    assert len(plan.workers) == 3
    assert "not cut it would take" in explain(plan)


def test_a_pipeline_over_time_steps_uses_small_frames() -> None:
    plan = plan_model(Demand("m", vgg(), heavy(vgg()), "operator"), rooms(4))
    assert plan.frame_steps == 1


def test_one_stage_gets_the_whole_request_in_one_frame() -> None:
    plan = plan_model(Demand("m", vgg(), heavy(vgg()), "model"), rooms(1))
    assert plan.frame_steps == 4


def test_the_gateway_is_linked_to_the_first_and_the_last_stage() -> None:
    plan = plan_model(Demand("m", residual(), heavy(residual()), "block"), rooms(2))
    assert [link.receiver for link in plan.links if link.sender == GATEWAY] == [plan.stages[0].name]
    assert [link.sender for link in plan.links if link.receiver == GATEWAY] == [plan.stages[-1].name]


def test_a_cut_is_explained_by_what_crosses_it() -> None:
    costs = Costs(operator_s=assumed(vgg()).operator_s, density={"pool1": 0.05}, steps=4)
    text = explain(plan_model(Demand("m", vgg(), costs, "block"), rooms(2)))
    assert "cut after pool1: 3 B of spikes per step (gap list, 5% set) against 32 B one operator earlier" in text


def test_a_cycle_is_explained() -> None:
    text = explain(plan_model(Demand("m", recurrent(), assumed(recurrent()), "operator"), rooms(2)))
    assert "kept together: back … lif1, because a cycle's state is stepped in one place" in text


def test_a_plan_survives_json() -> None:
    plan = plan_model(Demand("m", vgg(), heavy(vgg()), "block"), rooms(2))
    assert msgspec.convert(plan.to_json(), Plan) == plan


def test_an_unknown_stage_is_refused_with_those_that_exist() -> None:
    plan = plan_model(Demand("m", vgg(), heavy(vgg()), "model"), rooms(1))
    with pytest.raises(UserError, match=r"it has \['encoder\.\.rate'\]"):
        plan.stage("conv9")


def test_an_unknown_granularity_is_refused() -> None:
    with pytest.raises(UnknownName, match="known: auto, block, model, operator"):
        plan_model(Demand("m", vgg(), heavy(vgg()), "layer"), rooms(1))


def test_operators_that_nothing_reads_are_refused_by_name() -> None:
    graph = vgg()
    open_end = Graph(graph.operators, graph.synapses, graph.inputs, {"y": "head"})
    with pytest.raises(UserError, match="m: nothing reads rate; leave them out"):
        plan_model(Demand("m", open_end, assumed(open_end)), rooms(1))


def test_many_models_are_spread_over_the_workers() -> None:
    demands = [Demand(f"m{i}", vgg(), heavy(vgg()), "model") for i in range(4)]
    placed = [plan.workers[0] for plan in plan_all(demands, rooms(2))]
    assert placed.count("worker-0") == placed.count("worker-1") == 2


def test_auto_cuts_what_fits_no_worker_whole() -> None:
    demand = Demand("m", vgg(), light(vgg()), requests=1)
    whole = memory_bytes(vgg(), vgg().order())
    plan = plan_model(demand, rooms(4, memory_bytes=whole - 1))
    assert len(plan.workers) > 1
    assert "no worker has the memory for the whole model" in explain(plan)


def test_models_share_the_memory_of_workers() -> None:
    demand = Demand("m", vgg(), heavy(vgg()), "model", requests=1)
    with pytest.raises(UserError, match="of memory"):
        plan_all([demand, demand, demand], rooms(2, memory_bytes=6500))


@pytest.mark.slow
@settings(max_examples=25)
@given(graphs(), st.integers(1, 4), st.floats(1e-7, 1e-1))
def test_auto_never_loses_to_model(graph: Graph, count: int, seconds: float) -> None:
    costs = heavy(graph, seconds)
    auto = plan_model(Demand("m", graph, costs, "auto"), rooms(count))
    whole = plan_model(Demand("m", graph, costs, "model"), rooms(count))
    assert auto.latency_s <= whole.latency_s


@pytest.mark.slow
@given(graphs(), st.sampled_from(GRANULARITIES), st.integers(1, 3))
def test_links_are_what_stages_need_and_give(graph: Graph, granularity: str, count: int) -> None:
    plan = plan_model(Demand("m", graph, heavy(graph), granularity), rooms(count))
    for stage in plan.stages:
        part = stage_graph(graph, stage.operators)
        assert {link.source for link in plan.links if link.receiver == stage.name} == set(part.inputs)
        assert {link.source for link in plan.links if link.sender == stage.name} == set(part.outputs)


@pytest.mark.slow
@given(graphs(), st.sampled_from(GRANULARITIES), st.integers(1, 3))
def test_stages_stand_in_running_order_and_on_known_workers(graph: Graph, granularity: str, count: int) -> None:
    plan = plan_model(Demand("m", graph, heavy(graph), granularity), rooms(count))
    place = {stage.name: i for i, stage in enumerate(plan.stages)}
    inner = [link for link in plan.links if GATEWAY not in (link.sender, link.receiver)]
    assert all(place[link.sender] < place[link.receiver] for link in inner)
    assert set(plan.workers) <= {room.worker for room in rooms(count)}
    assert 1 <= plan.frame_steps <= heavy(graph).steps
