"""Workers that have joined from other machines: hosts of stages like any other, begun and ended by others."""

from __future__ import annotations

from stories import homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.decide import decide


def joins(name, kind="cpu", group="far"):
    return events.WorkerReady(1.0, name, kind, group, joined=True)


def ordered(state, kind, worker=""):
    state, _ = until_quiet(told(state, events.Ordered(1.0, "o", kind, worker)))
    return state


def test_one_that_has_joined_takes_over():
    state, _ = until_quiet(told(serving(plan("m", "w0"), workers=("w0",)), joins("far"), lost("w0")))
    assert homes(state, "m") == ["far"]


def test_a_device_that_is_brought_along_is_none_of_those_that_are_here():
    state = serving(plan("m", "w0", engine="darwin3"), workers=("w0",), kinds={"w0": "darwin3"}, devices={"darwin3": 1})
    there = told(state, joins("far", "darwin3"))
    assert there.devices == state.devices == {"darwin3": 1}
    assert told(there, lost("far")).devices == {"darwin3": 1}
    assert homes(until_quiet(told(there, lost("w0")))[0], "m") == ["far"]


def test_a_rebalance_spreads_the_stages_to_those_that_have_joined():
    state = told(serving(plan("m", "w0", "w0", busy_s=1.0), workers=("w0",)), joins("far"))
    assert set(homes(ordered(state, "rebalance"), "m")) == {"w0", "far"}


def test_a_rebalance_leaves_as_many_spares_as_are_wanted_and_takes_those_that_joined_first():
    state = serving(plan("m", "w0", "w0", busy_s=1.0), workers=("w0", "spare-0"), spares=1)
    state = ordered(told(state, joins("far")), "rebalance")
    assert set(homes(state, "m")) == {"w0", "far"}
    assert [each.name for each in state.idle()] == ["spare-0"]


def test_an_upgrade_replaces_none_that_has_joined_and_none_by_it():
    state, _ = until_quiet(told(serving(plan("m", "w0"), workers=("w0",)), joins("far")))
    state = ordered(state, "upgrade")
    assert "far" in state.workers
    assert "w0" not in state.workers
    assert homes(state, "m") != ["far"]


def test_one_that_has_joined_can_be_drained_and_leaves():
    state = told(serving(plan("m", "w0"), workers=("w0",)), joins("far"))
    state = ordered(ordered(state, "rebalance"), "drain", "far")
    assert "far" not in state.workers


def test_one_that_has_joined_stays_when_a_model_that_it_was_of_use_for_is_gone():
    state = told(serving(plan("m", "w0"), workers=("w0",)), joins("far"), events.Dismissed(2.0, "far"))
    assert not any(isinstance(action, events.Retire) for action in decide(state))
    assert "far" in state.workers


def test_those_of_one_group_that_go_together_are_a_lost_host():
    state = told(serving(plan("m", "w0"), workers=("w0",)), joins("one"), joins("two"), lost("w0"))
    state, _ = until_quiet(state)
    state = told(state, lost("one", cause="hang"), lost("two", at_s=2.1, cause="hang"))
    assert {each.cause for each in (*state.recoveries, *state.finished) if each.lost != "w0"} == {"host lost"}
