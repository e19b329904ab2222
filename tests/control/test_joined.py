"""Workers that have joined from other machines: hosts of stages like any other, begun and ended by others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stories import done, homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.decide import decide
from synfire.control.state import READY


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


def upgraded(state):
    """The state when an upgrade of it is over, all that was done, and the order."""
    state, _ = until_quiet(state)
    state = told(state, events.Ordered(2.0, "o", "upgrade"))
    state, log = until_quiet(state, till=lambda state: state.orders[0].over)
    return state, log, state.orders[0]


def on_joined(*names, **settings):
    """A model with a stage on each of these, in a deployment that begins no workers."""
    state = told(serving(workers=(), begins=False, **settings), *(joins(name, group=name) for name in names))
    return told(state, events.ModelAdded(1.0, plan("m", *names)))


def test_an_upgrade_begins_another_worker_beside_one_that_has_joined_and_moves_everything_there():
    state, log, order = upgraded(on_joined("far"))
    assert set(state.workers) == {"far.r2"}
    assert homes(state, "m") == ["far.r2"]
    assert (order.failure, order.retired) == ("", ("far",))
    renewed, built = log.index(events.Renew("far", "far.r2")), log.index(events.Prepare("m", "s0", "far.r2"))
    assert renewed < built < log.index(events.Suspend("m", 1)) < log.index(events.Retire("far"))


def test_an_upgrade_replaces_those_that_have_joined_one_after_the_other_each_on_its_own_machine():
    state, _, order = upgraded(on_joined("one", "other"))
    assert homes(state, "m") == ["one.r2", "other.r2"]
    assert [(each.source, each.target) for each in order.moved] == [("one", "one.r2"), ("other", "other.r2")]
    assert {name: each.group for name, each in state.workers.items()} == {"one.r2": "one", "other.r2": "other"}


@pytest.mark.parametrize("spares", [0, 1])
def test_an_upgrade_never_has_fewer_workers_at_work_or_in_reserve_than_before(spares):
    state, _ = until_quiet(told(on_joined("far", spares=spares), joins("reserve", group="reserve")))
    state = told(state, events.Ordered(2.0, "o", "upgrade"))
    while not state.orders[0].over:
        state = done(state, decide(state)[0])
        assert len([each for each in state.workers.values() if each.status == READY]) >= 2
        assert len(state.idle()) >= 1
    assert set(state.workers) == {"far.r2", "reserve.r2"}


def test_an_upgrade_replaces_those_that_are_begun_here_first_and_none_of_them_by_one_that_has_joined():
    state, log, order = upgraded(told(serving(plan("m", "w0"), workers=("w0",)), joins("far")))
    assert order.retired == ("w0", "far")
    assert homes(state, "m") == ["spare-0"]
    assert set(state.workers) == {"spare-0", "far.r2"}
    assert all(each.anew for each in log if isinstance(each, events.Start))


def test_a_worker_that_is_begun_without_an_upgrade_is_not_begun_anew():
    (start,) = decide(serving(plan("m", "w0"), workers=("w0",), spares=1))
    assert not start.anew


def test_an_upgrade_ends_with_the_reason_where_no_other_worker_can_be_begun_and_nobody_goes():
    state, _ = until_quiet(on_joined("one", "other"))
    state = told(state, events.Ordered(2.0, "o", "upgrade"))
    state = told(state, events.NotJoined(3.0, "one.r2", "it left with exit code 1"))
    (order,) = state.orders
    assert order.failure == "worker one cannot be replaced, and stays as it is: it left with exit code 1"
    assert (homes(state, "m"), order.retired) == (["one", "other"], ())
    state, log = until_quiet(state)
    assert not any(each.leaving for each in state.workers.values())
    assert [type(each) for each in log] == [events.Answer]


def test_what_is_told_of_a_worker_that_nobody_waits_for_changes_nothing():
    state, _ = until_quiet(on_joined("far"))
    assert told(state, events.NotJoined(3.0, "far.r2", "too late")) == state


def test_who_was_to_take_the_place_leaves_where_it_cannot_host_what_was_there():
    state, _ = until_quiet(on_joined("far"))
    state = told(state, events.Ordered(2.0, "o", "upgrade"), joins("far.r2", group="far"))
    state = told(state, events.Refused(3.0, "m", "s0", "far.r2", "no such kernel"))
    assert "no other worker can host m.s0" in state.orders[0].failure
    state, log = until_quiet(state)
    assert events.Retire("far.r2") in log
    assert set(state.workers) == {"far"}
    assert (homes(state, "m"), state.workers["far"].leaving) == (["far"], False)


def test_an_upgrade_of_one_that_is_lost_meanwhile_is_over_without_it():
    state, _ = until_quiet(told(on_joined("far"), joins("reserve", group="reserve")))
    state = told(state, events.Ordered(2.0, "o", "upgrade"), lost("far"))
    state, _ = until_quiet(state, till=lambda state: all(each.over for each in state.orders))
    assert (state.orders[0].failure, state.orders[0].retired) == ("", ("reserve",))
    assert homes(state, "m") == ["reserve.r2"]


def test_an_upgrade_leaves_those_alone_that_cannot_be_replaced_there_and_says_why():
    state = told(on_joined("far"), replace(joins("pod", group="pod"), stays="it runs in a Pod"))
    state, _, order = upgraded(state)
    assert set(state.workers) == {"far.r2", "pod"}
    assert order.remarks == ("worker pod stays as it is: it runs in a Pod",)


@pytest.mark.parametrize(
    ("name", "successor"),
    [
        ("far", "far.r2"),
        ("far.r2", "far.r3"),
        ("10.0.0.7", "10.0.0.7.r2"),
        ("far.rack", "far.rack.r2"),
        ("f" * 63, "f" * 60 + ".r2"),
    ],
)
def test_a_worker_that_takes_anothers_place_is_called_after_it(name, successor):
    assert set(upgraded(on_joined(name))[0].workers) == {successor}


def test_a_name_that_is_taken_is_given_to_nobody_else():
    state, _, _ = upgraded(told(on_joined("far"), replace(joins("far.r2"), stays="it runs in a Pod")))
    assert set(state.workers) == {"far.r3", "far.r2"}


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
