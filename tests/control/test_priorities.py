"""When room runs out: who is stopped for whom, what is told, and how models come back."""

from __future__ import annotations

from stories import done, homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.decide import decide
from synfire.control.losses import starting
from synfire.control.record import record_of
from synfire.control.state import STARTS

ROOM = {"memory_bytes": 10, "most_workers": 2}


def crowded(**changes):
    """Two models, each a stage of 10 bytes on a worker that has room for one."""
    values = {"workers": ("w0", "w1"), "priorities": {"more": 5}, **ROOM, **changes}
    return serving(plan("more", "w0", size=10), plan("less", "w1", size=10), **values)


def test_a_worker_that_can_be_started_is_waited_for_before_anybody_goes():
    state = told(crowded(), lost("w0"))
    assert [type(each) for each in decide(state)] == [events.Suspend, events.Start]
    state, log = until_quiet(state)
    assert not [each for each in log if isinstance(each, events.GiveUp)]
    assert homes(state, "more") == ["spare-0"]


def test_the_less_important_model_goes_when_no_worker_can_be_started():
    state, log = until_quiet(told(crowded(), lost("w0")), no_starts=True)
    assert homes(state, "more") == ["w1"]
    (given_up,) = [each for each in log if isinstance(each, events.GiveUp)]
    assert given_up.model == "less"
    assert "stopped to make room for model 'more', whose priority 5 is above its own, 0" in given_up.reason
    assert "comes back by itself" in given_up.reason


def test_room_is_made_before_it_is_taken():
    state = told(crowded(), lost("w0"))
    for _ in range(100):
        actions = decide(state)
        adopts = [each for each in actions if isinstance(each, events.Adopt)]
        if adopts:
            assert not any(home == "w1" for _, home in state.models["less"].hosted)
            return
        state = done(state, actions[0], no_starts=True)
    raise AssertionError("nothing was adopted")


def test_room_is_made_before_it_is_taken_also_where_the_model_that_goes_may_hope_for_a_worker():
    """Two losses at once: after the first one nobody can be started, after the second one somebody can."""
    three = [plan(name, home, size=10) for name, home in (("more", "w0"), ("less", "w1"), ("most", "w2"))]
    state = serving(*three, workers=("w0", "w1", "w2"), priorities={"more": 5, "most": 9}, **ROOM)
    state, log = until_quiet(told(state, lost("w0"), lost("w2")), till=lambda state: not state.models["less"].hosted)
    assert not [each for each in log if isinstance(each, events.Adopt) and each.worker == "w1"]
    state, _ = until_quiet(state)
    assert (homes(state, "more"), homes(state, "most")) == (["w1"], ["spare-0"])
    assert state.models["less"].stopped


def test_the_calls_of_a_model_that_goes_are_held_before_its_stages_are_dropped():
    _, log = until_quiet(told(crowded(), lost("w0")), no_starts=True)
    about = [type(each) for each in log if getattr(each, "model", "") == "less"]
    assert about.index(events.Suspend) < about.index(events.Drop)


def test_one_record_says_who_was_stopped_for_the_loss():
    state, _ = until_quiet(told(crowded(), lost("w0")), no_starts=True, till=lambda state: state.finished)
    (recovery,) = state.finished
    record = record_of(recovery, "test", 1000.0)
    assert (record.cause.kind, record.worker, record.outcome) == ("exit", "w0", "degraded")
    assert {each.model for each in record.models} == {"more", "less"}
    assert record.reason.startswith("less: it is stopped to make room")
    assert record.spare == "w1"


def test_a_stopped_model_comes_back_with_room_and_that_is_recorded():
    state, _ = until_quiet(told(crowded(), lost("w0")), no_starts=True)
    state = told(state, events.WorkerReady(9.0, "w9", memory_bytes=10))
    state, log = until_quiet(state, till=lambda state: state.finished)
    assert homes(state, "less") == ["w9"]
    assert not state.models["less"].failure
    (recovery,) = state.finished
    assert (recovery.cause, recovery.lost, recovery.models) == ("return", "w9", ("less",))
    assert [type(each).__name__ for each in log] == ["Suspend", "Adopt", "Resume"]


def test_a_stopped_model_comes_back_when_another_is_removed():
    state, _ = until_quiet(told(crowded(), lost("w0")), no_starts=True)
    state, _ = until_quiet(told(state, events.ModelRemoved(5.0, "more")))
    assert homes(state, "less") == ["w1"]


def test_starting_is_tried_again_some_time_later():
    state, _ = until_quiet(told(crowded(), lost("w0")), no_starts=True)
    assert decide(state) == ()
    state, log = until_quiet(told(state, events.Retry(9.0)))
    assert next(type(each).__name__ for each in log) == "Start"
    assert not state.models["less"].failure


def test_of_several_stopped_models_the_most_important_comes_back_first():
    models = [plan(name, worker, size=10) for name, worker in (("a", "w0"), ("b", "w1"), ("c", "w2"))]
    state = serving(
        *models, workers=("w0", "w1", "w2"), priorities={"a": 1, "b": 3, "c": 2}, memory_bytes=10, most_workers=3
    )
    state, _ = until_quiet(told(state, lost("w1"), lost("w2")), no_starts=True)
    assert [name for name, each in state.models.items() if not each.failure] == ["b"]
    state, _ = until_quiet(told(state, events.WorkerReady(9.0, "w9", memory_bytes=10)), no_starts=True)
    assert [name for name, each in state.models.items() if not each.failure] == ["b", "c"]


def test_the_lowest_priority_goes_first():
    models = [plan(name, worker, size=10) for name, worker in (("a", "w0"), ("b", "w1"), ("c", "w2"))]
    state = serving(
        *models, workers=("w0", "w1", "w2"), priorities={"a": 9, "b": 1, "c": 2}, memory_bytes=10, most_workers=3
    )
    state, log = until_quiet(told(state, lost("w0")), no_starts=True)
    assert [each.model for each in log if isinstance(each, events.GiveUp)] == ["b"]
    assert homes(state, "a") == ["w1"]


def test_nobody_goes_in_vain():
    models = (plan("big", "w0", size=20), plan("small", "w1", size=1), plan("wide", "w2", size=15))
    priorities = {"big": 9, "small": 1, "wide": 2}
    state = serving(*models, workers=("w0", "w1", "w2"), priorities=priorities, memory_bytes=20, most_workers=3)
    state = told(state, events.ModelAdded(0.0, plan("tail", "w1", size=19), 8))
    state, log = until_quiet(told(state, lost("w0")), no_starts=True)
    assert [each.model for each in log if isinstance(each, events.GiveUp)] == ["wide"]
    assert homes(state, "small") == ["w1"]


def test_models_of_one_priority_do_not_push_each_other_out():
    state, log = until_quiet(told(crowded(priorities={}), lost("w0")), no_starts=True)
    (given_up,) = [each for each in log if isinstance(each, events.GiveUp)]
    assert given_up.model == "more"
    assert "no worker has room for more.s0, which was on w0 and needs 10 B" in given_up.reason
    assert "no other worker can be started: 3 in a row have failed to" in given_up.reason
    assert homes(state, "less") == ["w1"]


def test_a_model_that_finds_no_room_leaves_what_it_had():
    state = serving(plan("pair", "w0", "w1", size=10), workers=("w0", "w1"), memory_bytes=10, most_workers=2)
    state, log = until_quiet(told(state, lost("w0")), no_starts=True)
    assert events.Drop("pair", "w1", ("s1",)) in log
    assert not state.models["pair"].hosted


def test_stages_of_one_worker_are_parted_where_no_single_one_has_room():
    state = serving(plan("pair", "w0", "w0", size=10), workers=("w0", "w1", "w2"), memory_bytes=20, most_workers=3)
    other = plan("other", "w1", "w2", size=10)
    state, _ = until_quiet(told(state, events.ModelAdded(0.0, other), lost("w0")), no_starts=True)
    assert sorted(homes(state, "pair")) == ["w1", "w2"]


def test_a_model_waits_no_longer_when_its_last_hope_fails_to_start():
    state = told(crowded(priorities={}), lost("w0"))
    for _ in range(3):
        (start,) = [each for each in decide(state) if isinstance(each, events.Start)]
        state = done(state, start, no_starts=True)
    assert state.models["more"].stopped


def test_a_spare_builds_only_what_it_could_hold_the_most_important_first():
    state = serving(
        plan("less", "w0", size=6), plan("more", "w0", size=6), workers=("w0", "idle-0"), priorities={"more": 1},
        spares=1,
    )  # fmt: skip
    spare = state.workers["idle-0"]
    state = state.with_worker(type(spare)(spare.name, memory_bytes=10))
    state, log = until_quiet(state)
    assert [each.model for each in log if isinstance(each, events.Prepare)] == ["more"]
    assert state.warm


def test_what_is_being_hosted_for_a_stopped_model_counts_until_it_is_known():
    state = told(crowded(), lost("w0"))
    state, _ = until_quiet(state, no_starts=True, till=lambda state: state.models["less"].told)
    less = state.models["less"]
    hanging = type(less)(
        less.plan, less.epoch, less.priority, {}, {("s0", "w1"): 0}, less.suspended, less.routed, less.failure, "", True
    )
    assert not [each for each in decide(state.with_model(hanging)) if isinstance(each, events.Adopt)]


def test_workers_that_fail_to_start_at_the_same_time_are_given_up_as_others_are():
    state = told(serving(plan("m", "w0"), workers=("w0",), spares=STARTS + 2))
    starts = [each for each in decide(state) if isinstance(each, events.Start)]
    assert len(starts) > STARTS
    for each in starts:
        state = starting(state, each.worker)
    state = told(state, *(lost(each.worker) for each in starts))
    assert state.starts == 0
    assert not [each for each in decide(state) if isinstance(each, events.Start)]
    assert [each for each in decide(told(state, events.Retry(9.0))) if isinstance(each, events.Start)]
