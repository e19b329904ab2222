"""Hosts are lost with all workers on them: who takes over then, and how many."""

from __future__ import annotations

import pytest
from stories import plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.losses import HOST_LOST, TOGETHER_S
from synfire.control.state import State


def on_hosts(*plans, spares=1, **hosts):
    """Workers on hosts, and the models that they serve."""
    ready = (events.WorkerReady(0.0, name, group=host) for name, host in hosts.items())
    return told(State(spares=spares), *ready, *(events.ModelAdded(0.0, each) for each in plans))


def lost(state, *workers):
    """They are found silent at the same moment."""
    return told(state, *(events.WorkerLost(2.0, each, "hang", 1.7) for each in workers))


def homes(state):
    return {stage.worker for model in state.models.values() for stage in model.plan.stages}


def test_nobody_on_the_lost_host_takes_over_though_nobody_has_told_of_them_yet():
    state = on_hosts(plan("m", "w0"), w0="h0", a_spare="h0", b_spare="h1")
    assert homes(lost(state, "w0")) == {"b_spare"}


def test_a_spare_on_the_host_of_a_lost_worker_is_better_than_none():
    assert homes(lost(on_hosts(plan("m", "w0"), w0="h0", spare="h0"), "w0")) == {"spare"}


def test_who_is_back_makes_its_host_as_good_as_any():
    state = on_hosts(plan("m", "w0"), plan("n", "w1"), spares=0, w0="h0", a_spare="h0", w1="h1")
    state, _ = until_quiet(lost(state, "w0"))
    assert homes(state) == {"w1"}
    state = told(state, events.WorkerReady(3.0, "w0", group="h0"))
    assert homes(lost(state, "w1")) == {"a_spare"}


def test_a_lost_worker_costs_one_spare_whatever_it_held():
    state = on_hosts(plan("a", "w0"), plan("b", "w0"), plan("c", "w0"), spares=2, w0="", s1="", s2="")
    assert homes(lost(state, "w0")) == {"s1"}


def test_two_workers_that_are_lost_at_once_cost_two_spares():
    state = on_hosts(plan("a", "w0", "w1"), plan("b", "w1", "w0"), spares=2, w0="h0", w1="h0", s1="h1", s2="h1")
    state = lost(state, "w0", "w1")
    assert homes(state) == {"s1", "s2"}
    state, _ = until_quiet(state)
    assert [each.settled for each in state.models.values()] == [True, True]


def test_a_host_that_goes_and_comes_makes_no_workers():
    state = on_hosts(plan("a", "w0"), plan("b", "w1"), w0="h0", w1="h1", spare="h2")
    for _ in range(5):
        (worker,) = {state.models["a"].plan.stages[0].worker}
        group = state.workers[worker].group
        state, _ = until_quiet(lost(state, worker))
        state, _ = until_quiet(told(state, events.WorkerReady(3.0, worker, group=group)))
    assert len(state.workers) <= 4


def test_models_without_hosts_doubt_nobody():
    state = on_hosts(plan("m", "w0"), w0="", spare="")
    state = lost(state, "w0")
    assert not any(each.doubtful for each in state.workers.values())


def causes(state):
    return {(each.lost, each.cause, each.target) for each in state.recoveries}


@pytest.mark.parametrize("cause", ["exit", "broken link", "hang"])
def test_workers_that_go_together_with_all_others_of_their_host_are_lost_with_it(cause):
    state = on_hosts(plan("a", "w0"), plan("b", "w1"), w0="h0", w1="h0", s1="h1", s2="h1")
    state = told(state, events.WorkerLost(2.0, "w0", cause, 2.0))
    assert causes(state) == {("w0", cause, "")}
    state = told(state, events.WorkerLost(2.0 + TOGETHER_S, "w1", cause, 2.0))
    assert causes(state) == {("w0", HOST_LOST, "h0"), ("w1", HOST_LOST, "h0")}
    state, _ = until_quiet(state)
    assert all(model.settled for model in state.models.values())


def test_a_spare_that_goes_with_the_last_worker_of_its_host_tells_of_the_host_too():
    state = on_hosts(plan("a", "w0"), w0="h0", a_spare="h0", b_spare="h1")
    state = told(state, *(events.WorkerLost(2.0, each, "exit", 2.0) for each in ("w0", "a_spare")))
    assert causes(state) == {("w0", HOST_LOST, "h0")}


def test_a_worker_alone_on_its_host_is_lost_by_itself():
    state = on_hosts(plan("a", "w0"), w0="h0", spare="h1")
    assert causes(told(state, events.WorkerLost(2.0, "w0", "exit", 2.0))) == {("w0", "exit", "")}


def test_a_host_that_cannot_be_reached_is_named_whoever_was_on_it():
    state = on_hosts(plan("a", "w0"), w0="h0", spare="h1")
    assert causes(told(state, events.WorkerLost(2.0, "w0", HOST_LOST, 1.7))) == {("w0", HOST_LOST, "h0")}


@pytest.mark.parametrize(("cause", "later_s"), [("exit", 2 * TOGETHER_S), ("corruption", 0.0), ("leaving", 0.0)])
def test_the_last_worker_of_a_host_that_goes_later_or_has_another_fault_is_lost_by_itself(cause, later_s):
    state = on_hosts(plan("a", "w0"), plan("b", "w1"), w0="h0", w1="h0", s1="h1", s2="h1")
    state = told(state, events.WorkerLost(2.0, "w0", "exit", 2.0), events.WorkerLost(2.0 + later_s, "w1", cause, 2.0))
    assert causes(state) == {("w0", "exit", ""), ("w1", cause, "")}


def test_a_worker_that_comes_back_is_needed_until_all_are_there_again():
    state, _ = until_quiet(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "idle-0"), spares=1))
    state, _ = until_quiet(lost(state, "w0", "w1"))
    assert len(state.workers) == 2, "one that serves, and one spare that was started"
    for name, needed in (("w0", True), ("w1", False)):
        state, log = until_quiet(told(state, events.WorkerReady(9.0, name, back=True)))
        assert (events.Retire(name) not in log) is needed
    assert len(state.workers) == 3


def test_a_worker_that_comes_back_is_needed_while_a_model_has_no_place():
    state, _ = until_quiet(serving(plan("m", "w0", size=10), workers=("w0",), memory_bytes=10, most_workers=0))
    state, _ = until_quiet(lost(state, "w0"))
    assert state.models["m"].stopped
    state, log = until_quiet(told(state, events.WorkerReady(9.0, "w0", memory_bytes=10, back=True)))
    assert homes(state) == {"w0"}
    assert not [each for each in log if isinstance(each, events.Retire)]
