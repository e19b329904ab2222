"""How many replicas a model gets for its calls; and how it sleeps and wakes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from stories import homes, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.condition import condition
from synfire.control.scaling import WINDOW_S, Load, noted, replicas_for, resting_for, stage_replicas_for, work_of
from synfire.control.state import State
from synfire.plan.plan import Stage
from synfire.wire.wish import Scale

SCALE = Scale(most=5, least=0, calls=4.0, idle_s=60.0)


def loaded(*calls, step_s=1.0, load=None, from_s=0.0):
    """The load after so many calls each second, and when that is."""
    load, now_s = load or Load(), from_s
    for each in calls:
        load = noted(load, each, now_s)
        now_s += step_s
    return load, now_s - step_s


def wanted(load, now_s, present, waiting=0, scale=SCALE):
    return replicas_for(load, scale, present, waiting, now_s)


def test_more_calls_than_a_replica_is_to_have_bring_another_one():
    load, now_s = loaded(*[8] * 10)
    assert wanted(load, now_s, present=1, waiting=8) == 2


def test_a_burst_of_an_instant_brings_none():
    load, now_s = loaded(2, 2, 40, step_s=0.05)
    assert wanted(load, now_s, present=1, waiting=2) == 1


def test_there_are_never_more_than_may_be():
    load, now_s = loaded(*[900] * 20)
    assert wanted(load, now_s, present=5, waiting=900) == 5


def test_fewer_only_when_the_busiest_moment_of_a_while_has_passed():
    load, now_s = loaded(*[16] * 10, *[1] * 5)
    assert wanted(load, now_s, present=4, waiting=1) == 4
    load, now_s = loaded(*[1] * int(WINDOW_S + 5), load=load, from_s=now_s + 1)
    assert wanted(load, now_s, present=4, waiting=1) == 1


def test_the_last_one_sleeps_when_nobody_has_called_for_a_while_and_wakes_for_the_first_call():
    load, now_s = loaded(3, *[0] * 59)
    assert wanted(load, now_s, present=1) == 1
    load, now_s = loaded(0, 0, load=load, from_s=now_s + 1)
    assert wanted(load, now_s, present=1) == 0
    assert wanted(load, now_s, present=0) == 0
    assert wanted(load, now_s, present=0, waiting=1) == 1


def test_one_that_may_not_sleep_stays():
    load, now_s = loaded(*[0] * 100)
    assert wanted(load, now_s, present=2, scale=Scale(most=3, least=2, idle_s=10.0)) == 2


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(0, 9), st.integers(0, 9))
def test_it_stays_between_its_bounds_whatever_comes(calls, present, least):
    scale = Scale(most=9, least=least)
    load, now_s = loaded(*calls)
    assert scale.least <= replicas_for(load, scale, present, calls[-1], now_s) <= scale.most


def quiet(state, *happened):
    state, _ = until_quiet(told(state, *happened))
    return state


def test_a_model_that_sleeps_is_on_no_worker_and_comes_back_when_it_is_woken():
    state = quiet(serving(plan("m", "w0", "w1", size=10), workers=("w0", "w1"), memory_bytes=10))
    state = quiet(state, events.Slept(2.0, "m"))
    model = state.models["m"]
    assert condition(model, {}).status == "asleep"
    assert model.suspended == model.epoch
    assert dict(model.hosted) == {}
    assert [state.room(each) for each in ("w0", "w1")] == [10, 10]
    assert state.calm
    state = quiet(state, events.Slept(3.0, "m", asleep=False))
    model = state.models["m"]
    assert condition(model, {}).status == "served"
    assert set(homes(state, "m")) == {"w0", "w1"}
    assert model.linked


def test_the_loss_of_a_worker_does_not_wake_it_and_it_wakes_on_others():
    state = quiet(serving(plan("m", "w0"), workers=("w0", "w1")), events.Slept(2.0, "m"))
    state = quiet(state, events.WorkerLost(3.0, "w0", "exit", 3.0))
    assert state.models["m"].asleep
    assert homes(quiet(state, events.Slept(4.0, "m", asleep=False)), "m") == ["w1"]


def test_one_that_wakes_waits_for_a_worker_to_join_where_there_is_none():
    state = told(State(begins=False), events.ModelAdded(0.0, plan("m", "place-0"), fresh=True))
    state = quiet(state, events.WorkerReady(1.0, "a", joined=True))
    state = quiet(state, events.Slept(2.0, "m"), events.WorkerLost(3.0, "a", "exit", 3.0))
    assert (state.models["m"].asleep, state.recoveries) == (True, ())
    state = quiet(state, events.Slept(4.0, "m", asleep=False))
    assert condition(state.models["m"], {}, begins=False).joining
    assert homes(quiet(state, events.WorkerReady(5.0, "b", joined=True)), "m") == ["b"]


def test_a_drain_leaves_a_sleeper_alone():
    state = quiet(serving(plan("m", "w0"), workers=("w0", "w1")), events.Slept(2.0, "m"))
    state = quiet(state, events.Ordered(3.0, "o", "drain", "w0"))
    assert "w0" not in state.workers
    assert state.models["m"].asleep


def stage_wants(work, requests, present, step_s=0.25):
    """How many replicas a stage is to have after such work, in workers, and so many requests at it, a look each."""
    loads = [loaded(*told, step_s=step_s)[0] for told in (work, requests)]
    return stage_replicas_for(*loads, present)


def test_a_stage_that_keeps_its_worker_busy_gets_another_replica():
    assert stage_wants([0.95] * 20, [6] * 20, present=1) == 2
    assert stage_wants([1.95] * 20, [6] * 20, present=2) == 3
    assert stage_wants([0.6] * 20, [6] * 20, present=1) == 1


def test_a_stage_that_only_one_caller_keeps_busy_gets_none():
    assert stage_wants([0.95] * 20, [0.9] * 20, present=1) == 1


def test_an_instant_of_work_brings_no_replica():
    assert stage_wants([0.1] * 20 + [1.0], [6] * 21, present=1, step_s=0.25) == 1


def test_a_replica_goes_when_the_busiest_moment_of_a_while_would_have_done_with_fewer():
    busy, now_s = loaded(*[1.6] * 20)
    requests, _ = loaded(*[6] * 20)
    quiet, _ = loaded(*[0.2] * 10, load=busy, from_s=now_s)
    assert stage_replicas_for(quiet, requests, 3) == 3
    calm, _ = loaded(*[0.2] * int(2 * WINDOW_S), load=busy, from_s=now_s)
    assert stage_replicas_for(calm, requests, 3) == 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_work_is_what_others_leave_of_a_worker(own, others):
    found = work_of(own, others)
    assert own - 1e-9 <= found <= 1
    assert work_of(own, 0.0) == own
    assert work_of(0.5, 0.5) == 1.0


@given(st.floats(0, 9), st.integers(0, 20), st.integers(1, 9))
def test_a_steady_load_comes_to_a_steady_number(work, requests, present):
    done, asked = (loaded(each, each, step_s=1.0)[0] for each in (work, requests))
    first = stage_replicas_for(done, asked, present)
    assert stage_replicas_for(done, asked, first) == first
    assert first >= 1


SLEEPERS = (
    Stage(name="far", operators=("a",), worker="w", least=0, idle_s=60.0),
    Stage(name="large", operators=("b",), worker="w", least=0, most=3, idle_s=10.0),
)


def test_stages_sleep_each_after_its_own_time_without_a_call_and_none_while_somebody_calls():
    def resting(called_s, now_s, waiting=0):
        return resting_for(SLEEPERS, called_s, waiting, now_s)

    assert resting(100.0, 109.9) == set()
    assert resting(100.0, 110.0) == {"large"}
    assert resting(100.0, 160.0) == {"far", "large"}
    assert resting(100.0, 160.0, waiting=1) == set()
