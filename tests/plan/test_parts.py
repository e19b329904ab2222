"""Stages that are joined of neighbours in the cut, and split again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_graphs import graphs, vgg

from synfire.base.errors import UserError
from synfire.plan import Costs, Demand, Plan, assumed, plan_cut, plan_model, rooms
from synfire.plan.parts import seam_s, split, unsplit


def planned(granularity: str = "auto", **options: object) -> Plan:
    return plan_model(Demand("m", vgg(), assumed(vgg()), granularity, **options), rooms(1))  # type: ignore[arg-type]


def wires(plan: Plan) -> set[tuple[str, str, str]]:
    return {(link.source, link.sender, link.receiver) for link in plan.links}


def test_a_stage_remembers_the_parts_that_it_was_joined_of() -> None:
    (stage,) = planned("block").stages
    assert [part.name for part in stage.parts] == ["encoder..pool1", "conv2..pool2", "flatten..rate"]
    assert tuple(name for part in stage.parts for name in part.operators) == stage.operators
    assert sum(part.memory_bytes for part in stage.parts) == stage.memory_bytes


def test_what_somebody_wants_whole_or_apart_has_no_parts() -> None:
    assert not any(stage.parts for stage in planned("model").stages)
    apart = planned("operator", apart=True)
    assert not any(stage.parts for stage in apart.stages)
    assert apart.seams == ()


def test_parts_on_one_worker_stay_together() -> None:
    plan = planned()
    (stage,) = plan.stages
    homes = ["a"] * 3 + ["b"] * (len(stage.parts) - 3)
    first, last = split(plan, stage.name, homes).stages
    assert (first.worker, last.worker) == ("a", "b")
    assert first.name == f"{stage.parts[0].operators[0]}..{stage.parts[2].operators[-1]}"
    assert len(first.parts) == 3
    assert first.memory_bytes + last.memory_bytes == stage.memory_bytes


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), data=st.data())
def test_a_split_stage_has_the_links_of_the_cut_that_it_is_now(graph, data) -> None:
    plan = plan_model(Demand("m", graph, assumed(graph)), rooms(1))
    (stage,) = plan.stages
    homes = data.draw(st.lists(st.sampled_from("abc"), min_size=len(stage.parts), max_size=len(stage.parts)))
    if not stage.parts:
        return
    found = split(plan, stage.name, homes)
    again = plan_cut(
        Demand("m", graph, assumed(graph)),
        [each.operators for each in found.stages],
        [each.worker for each in found.stages],
    )
    assert wires(found) == wires(again)
    assert [each.name for each in found.stages] == [each.name for each in again.stages]
    for each in found.stages:  # and further
        if each.parts:
            further = split(found, each.name, [str(n) for n in range(len(each.parts))])
            assert {part.name for part in each.parts} <= {part.name for part in further.stages}


def test_as_many_homes_as_parts_have_to_be_named() -> None:
    plan = planned()
    with pytest.raises(UserError, match=r"has .* parts, and 1 workers are named; name one each"):
        split(plan, plan.stages[0].name, ["a"])


def test_what_crosses_a_seam_has_its_price() -> None:
    plan = planned()
    (stage,) = plan.stages
    first, rest = stage.parts[:2], stage.parts[2:]
    frames, hop = -(-4 // plan.frame_steps), Costs().hop
    assert seam_s(plan, first, rest) >= frames * hop.busy_s(0)
    assert seam_s(plan, stage.parts, ()) == 0.0


def test_a_stage_that_others_know_by_its_name_is_not_split() -> None:
    plan = unsplit(planned(), [planned().stages[0].name])
    assert not plan.stages[0].parts
    assert wires(plan) == {(link.source, link.sender, link.receiver) for link in plan.seams}
