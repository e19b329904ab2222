"""Replicas of single stages are put on the workers that models are planned for."""

from __future__ import annotations

import pytest

from synfire.base.errors import UserError
from synfire.deploy.planned import Planned
from synfire.deploy.stage_replicas import replicate_stages
from synfire.plan import Demand, assumed, plan_cut
from synfire.plan.replicas import Range, homes
from synfire.testing.simulation.models import SHAPES, graph_of
from synfire.zoo import Model


def planned(name: str = "m", *workers: str) -> Planned:
    """A model in three stages, of which each is on one of the workers."""
    graph = graph_of("chain")
    costs = assumed(graph)
    plan = plan_cut(Demand(name, graph, costs), SHAPES["chain"], workers or ("worker-0", "worker-1", "worker-2"))
    return Planned(Model(name, graph, "here"), graph, costs, plan)


def stage() -> str:
    return planned().plan.stages[1].name


def places(found: Planned) -> list[str]:
    """The workers of the stage that has several replicas."""
    return list(homes(found.plan)[stage()].values())


def test_a_further_replica_goes_where_the_least_is_done_by_all_models() -> None:
    busy = planned("busy", "worker-3", "worker-3", "worker-0")
    found, other = replicate_stages([planned(), busy], {"m": {stage(): Range(2, 2)}}, 5)
    assert places(found) == ["worker-1", "worker-4"]
    assert other == busy
    assert found.plan.reasons[-1] == (
        f"{stage()} has 2 replicas, on worker-1, worker-4: a request goes through the one with the least to do"
    )


def test_models_share_the_room_of_workers() -> None:
    one, other = planned(), planned("other")
    most = one.plan.stage(stage()).memory_bytes
    counts = {"m": {stage(): Range(2, 2)}, "other": {stage(): Range(2, 2)}}
    with pytest.raises(UserError, match=rf"another replica of stage other\.{stage()} takes"):
        replicate_stages([one, other], counts, 4, f"{most}B")
    first, second = replicate_stages([one, other], counts, 5, f"{most}B")
    assert {places(each)[1] for each in (first, second)} <= {"worker-3", "worker-4"}


def test_where_workers_join_each_replica_has_a_place_of_its_own() -> None:
    one = planned("m", "place-0", "place-1", "place-2")
    (found,) = replicate_stages([one], {"m": {stage(): Range(3, 5)}}, None)
    assert places(found) == ["place-1", "place-3", "place-4"]
    assert (
        "has 3 replicas, on place-1, place-3, place-4, and up to 5 where its work takes them" in found.plan.reasons[-1]
    )


def test_a_model_that_runs_whole_has_replicas_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.graph.Graph.whole", property(lambda graph: True))
    with pytest.raises(UserError, match="ask for --replicas m=N"):
        replicate_stages([planned()], {"m": {stage(): Range(2, 2)}}, 4)


def test_a_model_of_which_no_stage_is_named_stays_as_it_is() -> None:
    one = planned()
    assert replicate_stages([one], {}, 4) == (one,)
