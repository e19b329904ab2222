"""A model that begins along a plan of which a worker cannot take its stages any more."""

from __future__ import annotations

import pytest
from stories import lost, plan, serving, told, until_quiet

from synfire.base.errors import TemporaryError
from synfire.control import events
from synfire.control.arrival import received

KINDS = {"chip-0": "darwin3", "chip-1": "darwin3"}
MODEL = plan("m", "w0", "chip-0:darwin3")


def without_model(*workers, free=0, **settings):
    """The state after the model was unloaded."""
    state = serving(MODEL, workers=workers, kinds=KINDS, devices={"darwin3": free}, **settings)
    return told(state, events.ModelRemoved(1.0, "m"))


def places(found):
    return [(stage.worker, found.plan.engine_of(stage)) for stage in found.plan.stages]


def added(state, found):
    return told(state, events.ModelAdded(3.0, found.plan, substituted=found.substituted))


def at_rest(state):
    """Whether nothing of it has to be moved."""
    _, log = until_quiet(state)
    return not any(isinstance(each, events.Suspend | events.Adopt) for each in log)


def test_a_plan_that_can_be_followed_is():
    found = received(without_model("w0", "chip-0", "w1"), MODEL)
    assert (found.plan, found.substituted) == (MODEL, {})


def test_workers_that_are_gone_are_to_be_started_with_the_chips_that_they_had():
    state, _ = until_quiet(told(without_model("w0", "chip-0"), lost("chip-0")))
    assert received(state, MODEL).plan == MODEL
    back = told(state, events.WorkerReady(3.0, "chip-0", "darwin3"))
    assert back.devices == {"darwin3": 0}


def test_what_was_on_a_chip_that_died_meanwhile_goes_to_another_chip():
    state = told(without_model("w0", "chip-0", "w1", "chip-1"), events.DeviceLost(2.0, "chip-0", "chip dead", 2.0))
    found = received(state, MODEL)
    assert places(found) == [("w0", "cpu"), ("chip-1", "darwin3")]
    assert at_rest(added(state, found))


def test_where_no_chip_is_left_a_processor_takes_it_and_that_is_known():
    state = told(without_model("w0", "chip-0"), events.DeviceLost(2.0, "chip-0", "chip dead", 2.0))
    found = received(state, MODEL)
    assert places(found) == [("w0", "cpu"), ("chip-0", "cpu")]
    assert found.substituted == {"s1": "darwin3"}
    after = added(state, found)
    assert at_rest(after)
    assert after.models["m"].substituted == {"s1": "darwin3"}


def test_a_worker_that_is_gone_with_its_chip_is_not_started_for_what_needs_one():
    state = told(without_model("w0", "chip-0"), events.DeviceLost(2.0, "chip-0", "chip dead", 2.0), lost("chip-0"))
    assert places(received(state, MODEL)) == [("w0", "cpu"), ("w0", "cpu")]


def test_two_workers_that_are_gone_do_not_both_get_the_only_free_chip():
    both = plan("both", "chip-0:darwin3", "chip-1:darwin3")
    state = serving(workers=("w0",), kinds=KINDS, devices={"darwin3": 1})
    assert places(received(state, both)) == [("chip-0", "darwin3"), ("w0", "cpu")]


def test_a_worker_that_leaves_is_given_nothing():
    state = told(without_model("w0", "chip-0", "w1", free=1), events.Ordered(2.0, "order-1", "drain", "w0"))
    assert "w0" not in received(state, MODEL).plan.workers


def test_what_a_worker_has_no_room_for_any_more_goes_where_there_is_some():
    big = plan("big", "w0", size=6)
    state = serving(plan("other", "w0", size=6), workers=("w0", "w1"), memory_bytes=10)
    assert places(received(state, big)) == [("w1", "cpu")]


def test_where_nobody_has_room_it_says_so():
    big = plan("big", "w0", size=6)
    state = serving(plan("other", "w0", size=6), workers=("w0",), memory_bytes=10)
    with pytest.raises(TemporaryError, match=r"worker w0 has room for 4 B, .* take 6 B, and no other worker"):
        received(state, big)


def test_more_workers_than_may_run_are_refused():
    state = serving(plan("other", "w0"), workers=("w0",), most_workers=1)
    with pytest.raises(TemporaryError, match=r"would take 2 workers .* and 1 may run"):
        received(state, plan("m", "w1"))
