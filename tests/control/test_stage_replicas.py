"""Replicas of a stage keep off each other's workers, and one that is lost is missed only where somebody has nothing to do."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from stories import homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.balance import balancing
from synfire.control.moves import possible
from synfire.control.order import Relocation
from synfire.control.record import record_of
from synfire.control.state import SPARE
from synfire.plan.plan import Link, Plan
from synfire.plan.replicas import Range, ranges, replicated


def several(workers=("w1", "w3"), **changes) -> Plan:
    """Three stages, of which the second runs on several workers."""
    chain = plan("net", "w0", workers[0], "w2", busy_s=0.01, **changes)
    links = tuple(Link(source=f"o{n}", sender=f"s{n}", receiver=f"s{n + 1}") for n in range(2))
    return replicated(msgspec.structs.replace(chain, links=links), {"s1": workers})


def serving_several(*others, workers=("w0", "w1", "w2", "w3"), size=0, **changes):
    return serving(several(size=size), *others, workers=workers, **changes)


def kinds(log):
    return {type(each).__name__ for each in log}


@pytest.mark.parametrize(("name", "left"), [("w3", "w1"), ("w1", "w3")])
def test_the_plan_does_without_a_lost_replica_where_nobody_is_idle(name, left):
    state, log = until_quiet(told(serving_several(), lost(name)), no_starts=True)
    assert homes(state, "net") == ["w0", left, "w2"]
    assert [each.name for each in state.models["net"].plan.stages] == ["s0", "s1", "s2"]
    assert {"Suspend", "Relink", "Resume"} <= kinds(log)
    assert "GiveUp" not in kinds(log)


def test_nothing_is_built_where_a_further_replica_is_lost():
    state, log = until_quiet(told(serving_several(), lost("w3")), no_starts=True)
    assert "Adopt" not in kinds(log)
    (recovery,) = [each for each in log if isinstance(each, events.Keep)]
    assert recovery.id == 1
    assert state.models["net"].epoch == 1


def test_a_spare_takes_over_from_a_lost_replica():
    state, log = until_quiet(told(serving_several(workers=("w0", "w1", "w2", "w3", "x")), lost("w3")), no_starts=True)
    assert homes(state, "net") == ["w0", "w1", "x", "w2"]
    assert [each.stage for each in log if isinstance(each, events.Adopt)] == ["s1#2"]


def test_a_spare_builds_a_stage_with_replicas_once():
    _, log = until_quiet(serving_several(workers=("w0", "w1", "w2", "w3", "x"), spares=1))
    assert [each.stage for each in log if isinstance(each, events.Prepare)] == ["s0", "s1", "s2"]


def test_what_a_spare_has_built_of_a_stage_is_good_for_each_replica():
    state, _ = until_quiet(serving_several(workers=("w0", "w1", "w2", "w3", "x"), spares=1))
    _, log = until_quiet(told(state, lost("w3")))
    assert [(each.stage, each.prepared) for each in log if isinstance(each, events.Adopt)] == [("s1#2", True)]


def test_a_replica_does_not_go_beside_its_like():
    """The last idle worker goes to a stage that nobody else has; who is left has a replica already."""
    state, _ = until_quiet(told(serving_several(), lost("w0"), lost("w2")), no_starts=True)
    net = state.models["net"].plan
    assert len({each.worker for each in net.stages if each.original == "s1"}) == 2
    assert all(state.living(each.worker) for each in net.stages)


def test_of_replicas_that_are_all_lost_one_comes_back():
    state, log = until_quiet(told(serving_several(), lost("w1"), lost("w3")), no_starts=True)
    assert len(homes(state, "net")) == 3
    assert set(homes(state, "net")) <= {"w0", "w2"}
    assert "GiveUp" not in kinds(log)


def test_the_rest_of_a_lost_worker_goes_on_elsewhere():
    state, _ = until_quiet(told(serving_several(plan("other", "w3")), lost("w3")), no_starts=True)
    assert homes(state, "net") == ["w0", "w1", "w2"]
    assert state.living(*homes(state, "other"))


def test_a_replica_on_a_device_is_never_replaced_by_a_processor():
    on_chips = several(engine="darwin3")
    workers = {"w0": "darwin3", "w1": "darwin3", "w2": "darwin3", "w3": "darwin3", "x": "cpu"}
    state = serving(on_chips, workers=tuple(workers), kinds=workers, devices={"darwin3": 0})
    state, _ = until_quiet(told(state, lost("w3")), no_starts=True)
    assert homes(state, "net") == ["w0", "w1", "w2"]
    assert not state.models["net"].substituted


def test_a_replica_leaves_a_worker_that_is_drained_for_one_that_is_free():
    state = serving_several(workers=("w0", "w1", "w2", "w3", "x"))
    state, _ = until_quiet(told(state, events.Ordered(3.0, "o", "drain", "w3")), no_starts=True)
    assert homes(state, "net") == ["w0", "w1", "x", "w2"]
    assert "w3" not in state.workers


@pytest.mark.parametrize(("name", "left"), [("w3", "w1"), ("w1", "w3")])
def test_where_nobody_has_room_a_worker_is_drained_of_a_replica_all_the_same(name, left):
    full = serving_several(size=10, memory_bytes=10)
    state, log = until_quiet(told(full, events.Ordered(3.0, "o", "drain", name)), no_starts=True)
    assert homes(state, "net") == ["w0", left, "w2"]
    assert name not in state.workers
    assert "GiveUp" not in kinds(log)


def test_a_rebalance_leaves_replicas_apart():
    state = serving_several()
    crowded = replace(state, in_service=2)
    for among in (("w1", "w3"), ("w0", "w1", "w2", "w3")):
        assert not [
            each for each in balancing(crowded, among) if each.stage.startswith("s1") and each.target in ("w1", "w3")
        ]


def test_replicas_of_a_model_that_waits_for_workers_have_a_place_each():
    begun = serving(workers=("a", "b", "c"), begins=False)
    begun = told(begun, events.ModelAdded(0.0, several(("place-1", "place-3")), fresh=True))
    state, _ = until_quiet(begun)
    assert state.models["net"].failure
    joins = events.WorkerReady(1.0, "d", joined=True)
    state, _ = until_quiet(told(state, joins))
    assert sorted(homes(state, "net")) == ["a", "b", "c", "d"]


def test_who_is_meant_as_a_spare_takes_over_from_a_replica_too():
    state = serving_several()
    spare = events.WorkerReady(1.0, "x", joined=True, role=SPARE)
    state, _ = until_quiet(told(state, spare, lost("w1")), no_starts=True)
    assert homes(state, "net") == ["w0", "x", "w3", "w2"]


def scaling(least, most, workers=("w0", "w1", "w2"), stage=("w1",), **changes):
    """A deployment in which the second stage has from `least` to `most` replicas."""
    found = several(stage)
    stages = tuple(
        msgspec.structs.replace(each, least=least, most=most) if each.original == "s1" else each
        for each in found.stages
    )
    return serving(msgspec.structs.replace(found, stages=stages), workers=workers, **changes)


def pressed(replicas, stage="s1"):
    return events.Pressed(5.0, "net", stage, replicas)


def replicas(state):
    return [each.worker for each in state.models["net"].plan.stages if each.original == "s1"]


def test_a_stage_with_more_to_do_gets_another_replica_on_a_worker_that_is_begun():
    state, log = until_quiet(told(scaling(1, 3), pressed(2)))
    assert replicas(state) == ["w1", "spare-0"]
    kinds_of = [type(each).__name__ for each in log]
    assert kinds_of.index("Start") < kinds_of.index("Prepare") < kinds_of.index("Suspend") < kinds_of.index("Adopt")
    assert not state.orders
    assert next(each for each in log if isinstance(each, events.Adopt)).prepared


def test_a_replica_goes_to_a_worker_with_nothing_to_do_and_to_no_spare_that_is_wanted():
    state, _ = until_quiet(told(scaling(1, 3, workers=("w0", "w1", "w2", "x")), pressed(2)), no_starts=True)
    assert replicas(state) == ["w1", "x"]
    kept, _ = until_quiet(told(scaling(1, 3, workers=("w0", "w1", "w2", "x"), spares=1), pressed(2)), no_starts=True)
    assert replicas(kept) == ["w1"]
    meant = told(scaling(1, 3, begins=False), events.WorkerReady(1.0, "x", joined=True, role=SPARE), pressed(2))
    assert replicas(until_quiet(meant)[0]) == ["w1"]


def test_a_stage_has_no_more_replicas_than_its_plan_allows_and_no_fewer():
    many, _ = until_quiet(told(scaling(1, 3), pressed(9)))
    assert len(replicas(many)) == 3
    few, _ = until_quiet(told(scaling(2, 3, workers=("w0", "w1", "w2", "w3"), stage=("w1", "w3")), pressed(1)))
    assert replicas(few) == ["w1", "w3"]


def test_with_less_to_do_the_last_replica_goes_and_the_worker_that_was_begun_for_it():
    state, _ = until_quiet(told(scaling(1, 3), pressed(3)))
    assert sorted(state.workers) == ["spare-0", "spare-1", "w0", "w1", "w2"]
    state, log = until_quiet(told(state, pressed(1)))
    assert replicas(state) == ["w1"]
    assert sorted(state.workers) == ["w0", "w1", "w2"]
    assert [each.stages for each in log if isinstance(each, events.Drop)] == [("s1#3",), ("s1#2",)]


def test_a_replica_that_the_plan_did_without_comes_back():
    state, log = until_quiet(told(scaling(2, 2, ("w0", "w1", "w2", "w3"), ("w1", "w3")), lost("w1")))
    assert len(set(replicas(state))) == 2
    assert "w1" not in replicas(state)
    assert [type(each).__name__ for each in log].index("Resume") < [type(each).__name__ for each in log].index("Start")


def asked_for(least, most):
    return events.Ranged(6.0, "net", {"s1": Range(least, most)} if most > 1 else {})


def test_replicas_that_are_asked_for_of_a_served_model_come_and_go_as_planned_moves():
    state, log = until_quiet(told(scaling(1, 1, workers=("w0", "w1", "w2", "x")), asked_for(2, 2)), no_starts=True)
    assert replicas(state) == ["w1", "x"]
    assert "GiveUp" not in kinds(log)
    state, log = until_quiet(told(state, asked_for(1, 1)))
    assert replicas(state) == ["w1"]
    assert ranges(state.models["net"].plan) == {}
    assert "GiveUp" not in kinds(log)
    assert not state.orders


def test_what_a_stage_is_to_have_at_least_goes_to_a_busy_host_where_all_workers_join():
    spare = events.WorkerReady(1.0, "x", joined=True, role=SPARE)
    state, _ = until_quiet(told(scaling(1, 1, begins=False), spare, asked_for(2, 3)))
    first, second = replicas(state)
    assert (first, second in ("w0", "w2")) == ("w1", True)
    state, _ = until_quiet(told(state, pressed(3)))
    assert replicas(state) == [first, second]
    state, _ = until_quiet(told(state, asked_for(3, 3)))
    assert sorted(replicas(state)) == ["w0", "w1", "w2"]
    state, _ = until_quiet(told(state, asked_for(4, 4)))
    assert sorted(replicas(state)) == ["w0", "w1", "w2"]
    assert not state.orders


def test_it_does_not_where_no_worker_can_be_had():
    limited = scaling(2, 2, ("w0", "w1", "w2", "w3"), ("w1", "w3"), most_workers=3)
    state, _ = until_quiet(told(limited, lost("w3")))
    assert replicas(state) == ["w1"]
    failing, log = until_quiet(told(scaling(2, 2, ("w0", "w1", "w2", "w3"), ("w1", "w3")), lost("w3")), no_starts=True)
    assert replicas(failing) == ["w1"]
    assert sum(isinstance(each, events.Start) for each in log) == 3


def test_who_refuses_a_stage_is_not_asked_for_another_replica_of_it():
    state = told(scaling(1, 3, workers=("w0", "w1", "w2", "x"), most_workers=4), pressed(2))
    state, _ = until_quiet(state, till=lambda state: any(each.underway for each in state.orders))
    state, _ = until_quiet(told(state, events.Refused(6.0, "net", "s1", "x", "no room")), no_starts=True)
    assert replicas(state) == ["w1"]
    assert not state.orders


def test_what_was_scaled_is_on_record():
    state, _ = until_quiet(told(scaling(1, 3), pressed(2)), till=lambda state: bool(state.finished))
    record = record_of(state.finished[0], "test", 1000.0)
    assert (record.cause.kind, record.cause.target, record.outcome) == ("scale", "net.s1", "moved")
    assert [(each.stage, each.source, each.target) for each in record.moved] == [("s1", "", "spare-0")]


def test_a_model_that_sleeps_is_not_scaled():
    state, _ = until_quiet(told(scaling(1, 3), events.Slept(4.0, "net"), pressed(3)))
    assert replicas(state) == ["w1"]
    assert "spare-0" not in state.workers


def test_replicas_that_change_places_move_together():
    """The one goes to where the other was."""
    state = serving_several(workers=("w0", "w1", "w2", "w3", "x"))
    ways = (Relocation("net", "s1", "w1", "w3"), Relocation("net", "s1#2", "w3", "x"))
    assert possible(state, ways)
    assert possible(state, ways[::-1])
    assert not possible(state, ways[:1])
