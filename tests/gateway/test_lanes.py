"""Which replicas of its stages a call goes through."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from synfire.gateway.lanes import Lanes
from synfire.plan import Plan, Stage
from synfire.plan.replicas import along, replicated

OPEN: dict[str, str] = {}


def plan_with(counts: dict[str, int]) -> Plan:
    """A stage `a` with so many replicas, and so on; each on a worker of its own, `a0`, `a1`, ….."""
    stages = tuple(Stage(name=name, operators=(name,), worker=f"{name}0", busy_s=0.001) for name in counts)
    plan = Plan(model="m", granularity="operator", stages=stages, links=(), frame_steps=4)
    return replicated(plan, {name: [f"{name}{n}" for n in range(count)] for name, count in counts.items()})


def able(worker: str) -> bool:
    return True


def test_a_call_goes_where_the_least_is_to_do_of_each_stage_by_itself() -> None:
    plan = plan_with({"a": 2, "b": 3, "c": 1})
    lanes = Lanes(plan)
    taken = [lanes.choose(OPEN, able)]
    lanes.take(along(plan, taken[0]), 10.0)
    for _ in range(4):
        taken.append(lanes.choose(OPEN, able))
        lanes.take(along(plan, taken[-1]), 1.0)
    assert [lane[0] for lane in taken] == [0, 1, 1, 1, 1], "it had the work of ten calls"
    assert Counter(lane[1] for lane in taken[1:]) == {1: 2, 2: 2}


def test_replicas_that_have_equally_much_to_do_take_turns() -> None:
    lanes = Lanes(plan_with({"a": 3}))
    assert [lanes.choose(OPEN, able) for _ in range(6)] == [(0,), (1,), (2,)] * 2


def test_a_worker_that_is_gone_is_chosen_last() -> None:
    lanes = Lanes(plan_with({"a": 2}))
    assert {lanes.choose(OPEN, lambda worker: worker != "a0") for _ in range(4)} == {(1,)}
    assert lanes.choose(OPEN, lambda worker: False) in {(0,), (1,)}


def test_a_session_keeps_its_replicas_as_long_as_they_are_there() -> None:
    plan = plan_with({"a": 3, "b": 2})
    lanes = Lanes(plan)
    lane = (2, 1)
    kept = {"a": "a#3", "b": "b#2"}
    lanes.take(along(plan, lane), 100.0)
    assert lanes.choose(kept, able) == lane
    assert Lanes(plan_with({"b": 2, "a": 3})).choose(kept, able) == (1, 2), "by name, whatever the order"
    fewer = Lanes(plan_with({"a": 2, "b": 2})).choose(kept, able)
    assert fewer[1] == 1
    assert fewer[0] < 2


def test_what_follows_from_a_name_is_always_the_same_and_reaches_all() -> None:
    lanes = Lanes(plan_with({"a": 3, "b": 2}))
    found = {f"s{n}": lanes.following(f"s{n}") for n in range(200)}
    assert found == {name: Lanes(plan_with({"a": 3, "b": 2})).following(name) for name in found}
    assert len(set(found.values())) == 6


@given(st.lists(st.tuples(st.floats(0.1, 1000), st.integers(0, 5)), max_size=40))
def test_work_that_ends_is_gone(calls: list[tuple[float, int]]) -> None:
    plan = plan_with({"a": 2, "b": 2})
    lanes, under_way = Lanes(plan), []
    for weight, ends in calls:
        lane = lanes.choose(OPEN, able)
        lanes.take(along(plan, lane), weight)
        under_way.append((lane, weight))
        for _ in range(min(ends, len(under_way))):
            lane, weight = under_way.pop(0)
            lanes.give_back(along(plan, lane), weight)
    for lane, weight in under_way:
        lanes.give_back(along(plan, lane), weight)
    assert not any(lanes._busy_s.values())
    assert not any(lanes._calls.values())


def test_there_is_nothing_to_choose_where_every_stage_is_in_one_place() -> None:
    lanes = Lanes(plan_with({"a": 1, "b": 1}))
    assert lanes.choose(OPEN, able) == ()


def test_a_call_counts_as_what_it_takes_of_a_replica_and_not_as_the_replica_s_share_of_all_calls() -> None:
    """A replica of `a` takes four times as long for its call as its share is; `c` is beside one of them, and all calls go through it."""
    stages = (
        Stage(name="a", operators=("a",), worker="w0", busy_s=0.004),
        Stage(name="c", operators=("c",), worker="w3", busy_s=0.0005),
    )
    plan = Plan(model="m", granularity="operator", stages=stages, links=(), frame_steps=4)
    plan = replicated(plan, {"a": ["w0", "w1", "w2", "w3"]})
    lanes, taken = Lanes(plan), Counter[int]()
    for _ in range(64):
        lane = lanes.choose(OPEN, able)
        lanes.take(along(plan, lane), 1.0)
        taken[lane[0]] += 1
    assert taken == {0: 18, 1: 18, 2: 18, 3: 10}, (
        "each worker has as much to do: 10 calls of 4 ms and 64 of 0.5 ms are 18 of 4 ms"
    )
