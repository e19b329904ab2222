"""Failure stories without a clock, a process or a socket: what the controller's pure core makes of them."""

from __future__ import annotations

import pytest
from stories import answer, plan, told

from synfire.control import events
from synfire.control.apply import apply
from synfire.control.decide import decide
from synfire.control.losses import starting
from synfire.control.record import record_of
from synfire.control.state import Recovery, State


def serving(*plans, spares=0, workers=("w0", "w1", "spare-0")):
    state = told(State(spares=spares), *(events.WorkerReady(0.0, each) for each in workers))
    return told(state, *(events.ModelAdded(0.0, each) for each in plans))


def done(state, action):
    """What the world answers when an action succeeds."""
    return answer(state, action, at_s=1.0, replayed=3)


def until_quiet(state):
    """Do everything that is decided, until nothing is."""
    log = []
    for _ in range(100):
        actions = decide(state)
        if not actions:
            return state, log
        for action in actions:
            log.append(action)
            if isinstance(action, events.Start):
                state = starting(state, action.worker, action.kind)
            state = apply(state, done(state, action))
    raise AssertionError(f"never quiet: {actions}")


def test_nothing_is_to_do_while_all_is_well():
    state, _ = until_quiet(serving(plan("m", "w0", "w1")))
    assert decide(state) == ()


def test_lost_worker_is_fenced_adopted_relinked_and_resumed_in_that_order():
    state = serving(plan("m", "w0", "w1", "w0"))
    state = told(state, events.WorkerLost(2.0, "w1", "exit", 1.9))
    state, log = until_quiet(state)
    assert log[:3] == [
        events.Suspend("m", 1),
        events.Adopt("m", "s1", "spare-0", 1),
        events.Relink("m", "w0", ("s0", "s2"), 1),
    ]
    assert log[3] == events.Resume("m", 1)
    assert [stage.worker for stage in state.models["m"].plan.stages] == ["w0", "spare-0", "w0"]


def test_one_spare_takes_all_that_its_worker_held_of_every_model():
    state = serving(plan("a", "w0", "w1"), plan("b", "w1"))
    state, log = until_quiet(told(state, events.WorkerLost(2.0, "w1", "exit", 2.0)))
    adopted = {(each.model, each.stage, each.worker) for each in log if isinstance(each, events.Adopt)}
    assert adopted == {("a", "s1", "spare-0"), ("b", "s0", "spare-0")}


def test_models_that_do_not_use_a_lost_worker_are_left_alone():
    state = serving(plan("a", "w0"), plan("b", "w1"))
    _, log = until_quiet(told(state, events.WorkerLost(2.0, "w1", "exit", 2.0)))
    assert not [each for each in log if getattr(each, "model", "b") == "a"]


def test_survivors_double_up_when_no_spare_is_left():
    state = serving(plan("m", "w0", "w1"), workers=("w0", "w1"))
    state, _ = until_quiet(told(state, events.WorkerLost(2.0, "w1", "exit", 2.0)))
    assert {stage.worker for stage in state.models["m"].plan.stages} == {"w0"}


def test_a_model_without_a_place_says_so_and_comes_back_with_the_next_worker():
    state = serving(plan("m", "w0"), workers=("w0",))
    state = told(state, events.WorkerLost(2.0, "w0", "exit", 2.0))
    assert decide(state) == (events.Suspend("m", 1), events.Start("spare-0"))
    state, log = until_quiet(state)
    assert [type(each).__name__ for each in log] == ["Suspend", "Start", "Suspend", "Adopt", "Resume", "Keep"]
    assert not state.recoveries
    assert state.models["m"].plan.workers == ("spare-0",)


def test_calls_are_answered_by_an_error_when_no_worker_can_be_started():
    state = told(serving(plan("m", "w0"), workers=("w0",)), events.WorkerLost(2.0, "w0", "exit", 2.0))
    for _ in range(3):
        (start,) = [each for each in decide(state) if isinstance(each, events.Start)]
        state = told(starting(state, start.worker), events.WorkerLost(3.0, start.worker, "did not start", 3.0))
    state, log = until_quiet(state)
    assert [type(each).__name__ for each in log] == ["Suspend", "GiveUp", "Keep"]
    assert "no worker is left" in log[1].reason
    state, log = until_quiet(told(state, events.WorkerReady(4.0, "w9")))
    assert [type(each).__name__ for each in log[:3]] == ["Suspend", "Adopt", "Resume"]


def test_the_important_model_is_adopted_first():
    state = told(
        State(),
        *(events.WorkerReady(0.0, each) for each in ("w0", "w1")),
        events.ModelAdded(0.0, plan("less", "w0"), 1),
        events.ModelAdded(0.0, plan("more", "w0"), 9),
    )
    actions = decide(told(state, events.WorkerLost(1.0, "w0", "exit", 1.0)))
    assert [each.model for each in actions] == ["more", "less", "more", "less"]


def test_a_spare_that_dies_while_it_adopts_is_replaced_too():
    state = serving(plan("m", "w0", "w1"), workers=("w0", "w1", "spare-0", "spare-1"))
    state = told(state, events.WorkerLost(2.0, "w1", "exit", 2.0), events.WorkerLost(2.1, "spare-0", "exit", 2.1))
    late = events.Adopted(2.2, "m", "s1", "spare-0", 1)
    assert told(state, late).models == state.models
    state, _ = until_quiet(state)
    assert state.models["m"].epoch == 2
    assert state.models["m"].plan.stage("s1").worker == "spare-1"


def test_events_of_an_older_epoch_change_nothing():
    state = serving(plan("m", "w0", "w1"))
    state = told(state, events.WorkerLost(2.0, "w1", "exit", 2.0))
    for stale in (
        events.Suspended(3.0, "m", 0),
        events.Resumed(3.0, "m", 0),
        events.Relinked(3.0, "m", "w0", ("s0",), 0),
    ):
        assert told(state, stale) == state


def test_a_loss_told_twice_is_one_loss():
    state = told(serving(plan("m", "w0", "w1")), events.WorkerLost(2.0, "w1", "exit", 2.0))
    assert told(state, events.WorkerLost(2.5, "w1", "broken link", 2.5)) == state


def test_a_worker_that_refuses_a_stage_is_not_asked_again():
    state = serving(plan("m", "w0", "w1"), workers=("w0", "w1", "spare-0", "spare-1"))
    state = told(state, events.WorkerLost(2.0, "w1", "exit", 2.0))
    state = told(state, events.Refused(2.1, "m", "s1", "spare-0", "no room"))
    state, _ = until_quiet(state)
    assert state.models["m"].plan.stage("s1").worker == "spare-1"


def test_the_pool_is_filled_and_kept_warm():
    state = serving(plan("m", "w0", "w1"), spares=2, workers=("w0", "w1"))
    state, log = until_quiet(state)
    assert len(state.idle()) == 2
    prepared = {(each.worker, each.stage) for each in log if isinstance(each, events.Prepare)}
    assert prepared == {(spare.name, stage) for spare in state.idle() for stage in ("s0", "s1")}
    state, log = until_quiet(told(state, events.WorkerLost(2.0, "w1", "exit", 2.0)))
    assert any(isinstance(each, events.Adopt) and each.prepared for each in log)
    assert len(state.idle()) == 2


def test_no_spare_is_begun_or_warmed_during_a_recovery():
    state = serving(plan("m", "w0", "w1"), spares=3)
    state = told(state, events.WorkerLost(2.0, "w1", "exit", 2.0))
    assert {type(each).__name__ for each in decide(state)} == {"Suspend", "Adopt", "Relink"}


def test_a_recovery_is_recorded_once_with_the_end_of_each_step():
    state = told(serving(plan("m", "w0", "w1")), events.WorkerLost(2.0, "w1", "exit", 1.5))
    state, log = until_quiet(state)
    assert [each for each in log if isinstance(each, events.Keep)] == [events.Keep(1)]
    assert state.recoveries == state.finished == ()


@pytest.mark.parametrize("sessions", [0, 3])
def test_restoring_is_a_step_of_a_recovery_where_there_are_sessions(sessions):
    state = told(serving(plan("m", "w0", "w1")), events.WorkerLost(2.0, "w1", "exit", 1.5))
    for action in decide(state):
        state = apply(state, answer(state, action, at_s=3.0))
    (recovery,) = told(state, events.Resumed(3.5, "m", 1, replayed=1, restored=sessions)).finished
    record = record_of(recovery, "run", 1000.0)
    steps = {step.name: round(step.began_s + step.duration_s, 6) for step in record.steps}
    assert steps.get("restore") == (1002.0 if sessions else None)
    assert (steps["replay"], record.sessions_restored, record.id, record.deployment) == (
        1002.0,
        sessions,
        "run-1",
        "run",
    )


def test_nothing_is_replayed_before_what_was_adopted_is_verified():
    ended_s = {"detect": 2.0, "fence": 2.1, "adopt": 2.2, "relink": 2.1, "verify": 2.5, "restore": 2.6, "replay": 2.6}
    record = record_of(Recovery(1, "exit", "w1", 2.0, 2.0, ("m",), (1,), ended_s=ended_s), "run", 1000.0)
    began = {step.name: step.began_s - 998.0 for step in record.steps}
    assert began["verify"] == pytest.approx(2.2)
    assert began["restore"] == began["replay"] == pytest.approx(2.5)


@pytest.mark.parametrize("order", range(6))
def test_however_the_answers_arrive_the_end_is_the_same(order):
    state = told(serving(plan("m", "w0", "w1", "w0")), events.WorkerLost(2.0, "w1", "exit", 2.0))
    actions = decide(state)
    rotated = [*actions[order % 3 :], *actions[: order % 3]][:: 1 if order < 3 else -1]
    for action in rotated:
        state = apply(state, done(state, action))
    assert decide(state) == (events.Resume("m", 1),)


def test_calls_go_on_only_when_the_gateways_hold_them():
    state = told(serving(plan("m", "w0", "w1")), events.WorkerLost(2.0, "w1", "exit", 2.0))
    for action in decide(state):
        if not isinstance(action, events.Suspend):
            state = apply(state, done(state, action))
    assert state.models["m"].linked
    assert decide(state) == (events.Suspend("m", 1),)


def test_lost_workers_are_forgotten():
    state = told(serving(plan("m", "w0")), events.WorkerLost(2.0, "spare-0", "exit", 2.0))
    assert set(state.workers) == {"w0", "w1"}
    assert told(state, events.PreparedOn(2.1, "m", "s0", "spare-0")) == state
