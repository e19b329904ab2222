"""Stages in several places: what a request meets on its way, who goes when one is lost, and where further ones are put."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_graphs import vgg

from synfire.base.errors import UnknownName, UserError
from synfire.plan import Demand, Plan, Room, assumed, plan_cut, plan_model, rooms
from synfire.plan.parts import split
from synfire.plan.place import DoesNotFit
from synfire.plan.replicas import (
    Range,
    along,
    arranged,
    bare,
    busy_s,
    check_ranges,
    forks,
    groups,
    grown,
    homes,
    ranged,
    ranges,
    replicated,
    with_replicas,
    without,
)
from synfire.testing.graphs import in_several_places, random_graph, random_plan

SEEDS = st.integers(0, 2**32 - 1)


def planned(workers: int = 3) -> Plan:
    """A model in three stages, on a worker each."""
    groups_of = [("encoder", "conv1", "lif1", "pool1"), ("conv2", "lif2", "pool2"), ("flatten", "head", "rate")]
    return plan_cut(Demand("m", vgg(), assumed(vgg())), groups_of, [f"w{n}" for n in range(workers)][:3])


def middle() -> str:
    return planned().stages[1].name


def wires(plan: Plan) -> set[tuple[str, str, str]]:
    return {(link.source, link.sender, link.receiver) for link in plan.links}


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_along_each_lane_is_the_plan_as_it_was(seed: int) -> None:
    once = random_plan(random_graph(seed), seed)
    plan = in_several_places(once, seed)
    counts = [range(len(group)) for group in groups(plan)]
    for lane in itertools.islice(itertools.product(*counts), 50):
        found = along(plan, lane)
        called = {each.name: each.original for each in found.stages}
        assert list(called.values()) == [each.name for each in once.stages]
        names = {**called, "gateway": "gateway"}
        assert {(a, names[b], names[c]) for a, b, c in wires(found)} == wires(once)
    assert along(plan, ()) == along(plan, (0,) * len(counts))


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_a_replica_has_a_name_and_a_worker_of_its_own(seed: int) -> None:
    plan = in_several_places(random_plan(random_graph(seed), seed), seed)
    assert len({each.name for each in plan.stages}) == len(plan.stages)
    for group in groups(plan):
        assert len({each.worker for each in group}) == len(group)
        assert [each.name for each in group] == [
            group[0].name,
            *(f"{group[0].name}#{n}" for n in range(2, len(group) + 1)),
        ]
    again = arranged(bare(plan), homes(plan))
    assert [(each.name, each.worker) for each in again.stages] == [(each.name, each.worker) for each in plan.stages]
    assert wires(again) == wires(plan)
    assert set(forks(plan)) == {each.name for group in groups(plan) for each in group}


def test_replicas_share_the_work() -> None:
    plan = planned()
    twice = replicated(plan, {middle(): ("w1", "w3")})
    assert [each.name for each in twice.stages] == [plan.stages[0].name, middle(), f"{middle()}#2", plan.stages[2].name]
    assert sum(each.busy_s for each in twice.stages) == pytest.approx(sum(each.busy_s for each in plan.stages))
    assert busy_s(twice)["w1"] == pytest.approx(busy_s(plan)["w1"] / 2)
    assert bare(twice).requests_s == pytest.approx(plan.requests_s)
    assert msgspec.json.decode(msgspec.json.encode(twice), type=Plan) == twice


def test_a_plan_whose_busiest_stage_has_replicas_promises_more_requests() -> None:
    plan = planned()
    stages = tuple(
        msgspec.structs.replace(each, busy_s=0.01 if each.name == middle() else 0.001) for each in plan.stages
    )
    slow = msgspec.structs.replace(plan, stages=stages, links=(), requests_s=100.0)
    assert replicated(slow, {middle(): ("w1", "w3", "w4")}).requests_s == pytest.approx(300)


def names(*workers: str) -> dict[str, str]:
    """The replicas of the stage in the middle, with their workers."""
    return {f"{middle()}#{n}" if n > 1 else middle(): worker for n, worker in enumerate(workers, 1)}


def test_the_last_replica_takes_the_name_of_the_first_where_that_goes() -> None:
    plan = replicated(planned(), {middle(): ("w1", "w3", "w4")})
    assert homes(without(plan, {middle()}))[middle()] == {middle(): "w4", f"{middle()}#2": "w3"}
    assert homes(without(plan, {f"{middle()}#3"}))[middle()] == names("w1", "w3")


def test_the_others_keep_their_names_and_the_next_one_fills_the_gap() -> None:
    plan = replicated(planned(), {middle(): ("w1", "w3", "w4")})
    parted = without(plan, {f"{middle()}#2"})
    assert homes(parted)[middle()] == {middle(): "w1", f"{middle()}#3": "w4"}
    assert homes(grown(parted, middle(), "w5"))[middle()] == {
        middle(): "w1",
        f"{middle()}#3": "w4",
        f"{middle()}#2": "w5",
    }


def test_a_stage_grows_by_a_replica_at_the_end() -> None:
    plan = grown(grown(planned(), middle(), "w3"), middle(), "w4")
    assert homes(plan) == {middle(): names("w1", "w3", "w4")}
    assert homes(without(plan, {f"{middle()}#3"})) == {middle(): names("w1", "w3")}


def test_one_replica_stays_whatever_goes() -> None:
    plan = replicated(planned(), {middle(): ("w1", "w3", "w4")})
    alone = without(plan, {middle(), f"{middle()}#2"})
    assert homes(alone) == {}
    assert alone.stage(middle()).busy_s == pytest.approx(planned().stage(middle()).busy_s)
    assert alone.requests_s == pytest.approx(planned().requests_s)
    assert alone.stage(middle()).worker == "w4"
    assert without(plan, {each.name for each in plan.stages}).stage(middle()).worker == "w1"


def test_a_further_replica_goes_to_the_least_busy_worker_that_has_none() -> None:
    several = with_replicas(planned(), {middle(): Range(3, 4)}, rooms_of(5), {"w4": 9.0})
    first, second, third = homes(several)[middle()].values()
    assert (first, second) == ("w1", "w3")
    assert third in ("w0", "w2")
    assert {(each.least, each.most) for each in several.stages if each.original == middle()} == {(3, 4)}
    assert {(each.least, each.most) for each in several.stages if each.original != middle()} == {(1, 1)}
    with pytest.raises(
        UserError, match=r"stage m\.conv2\.\.pool2 is wanted in 6 replicas.*there are 5 workers; allow 6 with --workers"
    ):
        with_replicas(planned(), {middle(): Range(6, 6)}, rooms_of(5), {})


def rooms_of(count: int, memory_bytes: int | None = None) -> tuple[Room, ...]:
    return tuple(Room(f"w{n}", memory_bytes=memory_bytes) for n in range(count))


def test_a_replica_that_nobody_has_room_for_is_refused() -> None:
    most = planned().stage(middle()).memory_bytes
    several = with_replicas(planned(), {middle(): Range(2, 2)}, rooms_of(4, most), {})
    assert homes(several)[middle()] == names("w1", "w3")
    with pytest.raises(DoesNotFit, match="no worker without one has so much left; add workers"):
        with_replicas(planned(), {middle(): Range(2, 2)}, rooms_of(3, most), {})


def test_a_stage_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no stage of m named 'conv3'; known: conv2\.\.pool2"):
        with_replicas(planned(), {"conv3": Range(2, 2)}, rooms_of(3), {})
    with pytest.raises(
        UserError, match=r"operator conv2 of m is in stage conv2\.\.pool2, which has replicas as a whole: name that one"
    ):
        with_replicas(planned(), {"conv2": Range(2, 2)}, rooms_of(3), {})


def test_how_many_replicas_there_are_to_be_changes_without_any_that_comes_or_goes() -> None:
    several = with_replicas(planned(), {middle(): Range(2, 2)}, rooms_of(4), {})
    more = ranged(several, {middle(): Range(1, 3)})
    assert (homes(more), ranges(more)) == (homes(several), {middle(): Range(1, 3)})
    assert ranges(ranged(more, {})) == {}
    check_ranges(several, {middle(): Range(2, 99)})
    with pytest.raises(UnknownName, match="no stage of m named 'conv3'"):
        check_ranges(several, {"conv3": Range(1, 2)})


def test_a_stage_is_split_beside_one_that_has_replicas_and_never_itself() -> None:
    whole = plan_model(Demand("m", vgg(), assumed(vgg()), "block"), rooms(1))
    first, last = split(whole, whole.stages[0].name, ["a", "b", "b"]).stages
    plan = replicated(split(whole, whole.stages[0].name, ["a", "b", "b"]), {first.name: ("a", "c")})
    again = split(plan, last.name, ["b", "d"])
    assert [each.worker for each in again.stages] == ["a", "c", "b", "d"]
    assert wires(bare(again)) == wires(split(whole, whole.stages[0].name, ["a", "b", "d"]))
    with pytest.raises(UserError, match="has replicas, and cannot be split"):
        split(replicated(plan, {last.name: ("b", "c")}), last.name, ["b", "d"])
