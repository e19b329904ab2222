"""Stages that were joined of neighbours are split again where one part has to move."""

from __future__ import annotations

import itertools

from stories import done, homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.decide import decide
from synfire.control.record import record_of
from synfire.plan.parts import joined
from synfire.plan.plan import GATEWAY, Link, Plan, Stage


def fused(model, worker, *busy_s, size=1, crossing_s=0.0):
    """A chain of parts `p0`, `p1`, … that are one stage on `worker`; each takes `size` of memory, and its seconds a request."""
    parts = [
        Stage(name=f"p{n}", operators=(f"p{n}",), worker=worker, memory_bytes=size, busy_s=each)
        for n, each in enumerate(busy_s)
    ]
    names = [GATEWAY, *(part.name for part in parts), GATEWAY]
    seams = tuple(Link(source=a, sender=a, receiver=b, busy_s=crossing_s) for a, b in itertools.pairwise(names))
    (stage,) = whole = (joined(parts),)
    links = (
        Link(source=GATEWAY, sender=GATEWAY, receiver=stage.name),
        Link(source=names[-2], sender=stage.name, receiver=GATEWAY),
    )
    return Plan(model=model, granularity="auto", stages=whole, links=links, frame_steps=4, seams=seams)


def placed(state, model="m"):
    """The stages of a model with their workers."""
    return [(stage.name, stage.worker) for stage in state.models[model].plan.stages]


def carried_out(state, kind, worker="", **options):
    state = told(state, events.Ordered(2.0, "o", kind, worker))
    state, log = until_quiet(state, till=lambda state: all(each.over for each in state.orders), **options)
    (over,) = state.orders
    return state, log, over


def test_a_stage_that_no_worker_has_room_for_is_split_over_several():
    state = serving(
        fused("m", "w0", 1e-3, 1e-3, 1e-3, size=4), plan("x", "a", size=4), plan("y", "b", size=8),
        workers=("w0", "a", "b"), memory_bytes=12, most_workers=3,
    )  # fmt: skip
    state, log = until_quiet(told(state, lost("w0")), till=lambda state: state.models["m"].settled)
    assert placed(state) == [("p0..p1", "a"), ("p2", "b")]
    assert [each.stage for each in log if isinstance(each, events.Adopt)] == ["p0..p1", "p2"]
    assert not state.models["m"].failure


def test_a_worker_that_has_room_for_all_of_it_takes_it_whole():
    state = serving(fused("m", "w0", 1e-3, 1e-3, size=4), workers=("w0", "a", "b"), memory_bytes=8, most_workers=3)
    state, _ = until_quiet(told(state, lost("w0")))
    assert placed(state) == [("p0..p1", "a")]


def test_what_was_split_is_linked_part_to_part_in_a_new_epoch():
    state = serving(
        fused("m", "w0", 1e-3, 1e-3, size=4), plan("x", "a", size=4), plan("y", "b", size=4),
        workers=("w0", "a", "b"), memory_bytes=8, most_workers=3,
    )  # fmt: skip
    state, _ = until_quiet(told(state, lost("w0")))
    view = state.models["m"]
    assert view.epoch == 1
    assert {(link.sender, link.receiver) for link in view.plan.links} == {
        (GATEWAY, "p0"), ("p0", "p1"), ("p1", GATEWAY),
    }  # fmt: skip
    (recovery,) = state.finished or [None]
    assert recovery is None or recovery.spare == "a, b"


def test_a_rebalance_splits_a_stage_where_no_move_of_a_whole_one_helps():
    state = serving(fused("m", "w0", 4e-3, 3e-3, 3e-3), plan("n", "w1", busy_s=1e-3), workers=("w0", "w1"))
    state, log, over = carried_out(state, "rebalance")
    assert placed(state) == [("p0", "w1"), ("p1..p2", "w0")]
    (way,) = over.moved
    assert (way.source, way.target, way.stage) == ("w0", "w1", "p0..p2")
    assert max(dict(over.loads).values()) < 0.9 * 10e-3
    assert events.Drop("m", "w0", ("p0..p2",)) in log


def test_both_parts_are_built_before_any_call_is_interrupted():
    state = serving(fused("m", "w0", 5e-3, 5e-3), plan("n", "w1", busy_s=1e-6), workers=("w0", "w1"))
    _, log, _ = carried_out(state, "rebalance")
    fence = log.index(events.Suspend("m", 1))
    before = [each for each in log[:fence] if isinstance(each, events.Prepare)]
    assert sorted((each.stage, each.worker, each.operators) for each in before) == [
        ("p0", "w1", ("p0",)), ("p1", "w0", ("p1",)),
    ]  # fmt: skip
    assert all(each.prepared for each in log if isinstance(each, events.Adopt))


def test_a_split_that_costs_more_in_frames_than_it_gains_is_left():
    state = serving(fused("m", "w0", 5e-3, 5e-3, crossing_s=5e-3), plan("n", "w1", busy_s=1e-6), workers=("w0", "w1"))
    state, log, over = carried_out(state, "rebalance")
    assert (over.moved, log) == ((), [])
    assert "nor would splitting a stage gain the 10 %" in over.remarks[0]


def test_a_drained_worker_s_stage_is_split_where_nobody_has_room_for_all_of_it():
    state = serving(
        fused("m", "w0", 1e-3, 1e-3, 1e-3, size=4), plan("x", "a", size=4), plan("y", "b", size=8),
        workers=("w0", "a", "b"), memory_bytes=12, most_workers=3,
    )  # fmt: skip
    state, _, over = carried_out(state, "drain", "w0")
    assert placed(state) == [("p0..p1", "a"), ("p2", "b")]
    assert over.retired == ("w0",)
    assert [(each.what, each.target) for each in over.moved] == [
        ("p0 … p1 of p0..p2", "a"), ("p2 of p0..p2", "b"),
    ]  # fmt: skip


def test_a_drain_waits_for_a_worker_rather_than_split_a_stage():
    state = serving(
        fused("m", "w0", 1e-3, 1e-3, size=4), plan("x", "a", size=4), plan("y", "b", size=4),
        workers=("w0", "a", "b"), memory_bytes=8,
    )  # fmt: skip
    state, log, _ = carried_out(state, "drain", "w0")
    assert events.Start("spare-0", "cpu") in log
    assert placed(state) == [("p0..p1", "spare-0")]


def test_a_worker_of_which_memory_is_counted_drops_a_stage_before_it_adopts_a_part_of_it():
    state = serving(
        fused("m", "w0", 5e-3, 5e-3, size=4), plan("n", "w1", size=4, busy_s=1e-6),
        workers=("w0", "w1"), memory_bytes=8,
    )  # fmt: skip
    state = told(state, events.Ordered(2.0, "o", "rebalance", ""))
    held = []
    for _ in range(40):
        actions = decide(state)
        if not actions:
            break
        action = actions[0]
        if isinstance(action, events.Adopt) and action.worker == "w0":
            held.append({stage for stage, home in state.models["m"].hosted if home == "w0"})
        state = done(state, action)
    assert held == [set()]
    assert placed(state) == [("p0", "w1"), ("p1", "w0")]


def test_a_part_whose_worker_is_lost_goes_on_elsewhere_and_may_be_split_further():
    state = serving(fused("m", "w0", *[4e-3] * 4), plan("n", "w1", busy_s=1e-6), workers=("w0", "w1", "w2", "w3"))
    state, _, _ = carried_out(state, "rebalance")
    assert [worker for _, worker in placed(state)].count("w1") == 1
    state, _ = until_quiet(told(state, lost("w1", 4.0)))
    assert set(homes(state, "m")) == {"w0", "w2"}
    assert {name for stage in state.models["m"].plan.stages for name in stage.operators} == {"p0", "p1", "p2", "p3"}


def test_an_order_to_move_a_stage_that_was_split_meanwhile_finds_another_way():
    state = serving(
        fused("m", "w0", 1e-3, 1e-3, size=4), plan("x", "a", size=4), plan("y", "b", size=4), plan("z", "c", size=4),
        workers=("w0", "a", "b", "c"), memory_bytes=8, most_workers=4,
    )  # fmt: skip
    state = told(state, events.Ordered(2.0, "o", "drain", "w0"))
    assert len(state.orders[0].underway) == 2
    gone = state.orders[0].underway[0].target
    state, _ = until_quiet(told(state, lost(gone)))
    assert "w0" not in state.workers
    assert placed(state) == [("p0..p1", "spare-0")]


def test_the_record_of_a_split_says_what_went_where():
    state = serving(fused("m", "w0", 5e-3, 5e-3), plan("n", "w1", busy_s=1e-6), workers=("w0", "w1"))
    state = told(state, events.Ordered(2.0, "o", "rebalance", ""))
    state, _ = until_quiet(state, till=lambda state: state.finished)
    record = record_of(state.finished[0], "test", 1000.0)
    assert [(each.stage, each.source, each.target) for each in record.moved] == [("p0 of p0..p1", "w0", "w1")]
