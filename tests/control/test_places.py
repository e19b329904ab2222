"""Models that begin on workers which others begin: each waits until one has joined for every place of its plan."""

from __future__ import annotations

import pytest
from stories import homes, lost, plan, told, until_quiet

from synfire.control import events
from synfire.control.apply import apply
from synfire.control.arrival import received
from synfire.control.condition import condition
from synfire.control.decide import decide
from synfire.control.relief import SETTLED_S
from synfire.control.state import SPARE, State


def joins(name, kind="cpu", role="host", memory_bytes=None):
    return events.WorkerReady(1.0, name, kind, name, memory_bytes, joined=True, role=role)


def begins(wanted, priority=0, kinds=()):
    return events.ModelAdded(1.0, wanted, priority, fresh=True, kinds=frozenset(kinds))


def waiting(*plans, **settings):
    """The state in which these have been asked for, and nobody has joined."""
    state, _ = until_quiet(told(State(begins=False, **settings), *(begins(each) for each in plans)))
    return state


def then(state, *happened):
    state, _ = until_quiet(told(state, *happened))
    return state


def settled(state, *happened):
    """The state when nobody else has come or gone for a while."""
    return then(then(state, *happened), events.Retry(3.0 + SETTLED_S))


def test_a_model_is_received_as_fresh_where_nothing_begins_workers():
    assert received(State(begins=False), plan("m", "place-0")).fresh
    assert not received(State(), plan("m", "w0")).fresh


def test_a_model_waits_with_its_calls_held_and_says_for_what():
    state = waiting(plan("m", "place-0", "place-1"))
    model = state.models["m"]
    assert model.suspended == model.epoch
    assert not model.stopped
    assert state.calm
    assert state.warm
    assert "2 of kind cpu (0 of the 0 here can)" in model.failure
    assert (told_of := condition(model, {}, begins=False)).status == "waiting"
    assert told_of.joining


def test_it_is_served_as_soon_as_every_place_has_a_worker_of_its_own():
    state = then(waiting(plan("m", "place-0", "place-1")), joins("a"))
    assert "2 of kind cpu (1 of the 1 here can)" in state.models["m"].failure
    state = then(state, joins("b"))
    assert sorted(homes(state, "m")) == ["a", "b"]
    assert state.models["m"].routed == state.models["m"].epoch
    assert not state.models["m"].fresh
    assert condition(state.models["m"], {}, begins=False).status == "served"


def test_it_is_not_called_served_before_it_has_been_built():
    state = told(waiting(plan("m", "place-0")), joins("a"))
    assert (built := condition(state.models["m"], {}, begins=False)).status == "waiting"
    assert "being built on a" in built.reason


def test_stages_of_one_place_stay_together():
    assert homes(then(waiting(plan("m", "p", "p", "q")), joins("a"), joins("b")), "m") in (
        ["a", "a", "b"],
        ["b", "b", "a"],
    )


def test_nothing_is_recorded_as_a_recovery_when_it_begins():
    state = then(waiting(plan("m", "place-0")), joins("a"))
    assert (state.recoveries, state.finished, state.next_id) == ((), (), 1)


def test_no_model_begins_on_a_spare_and_what_is_lost_goes_there_first():
    state = then(waiting(plan("m", "place-0")), joins("s", role=SPARE))
    assert state.models["m"].failure
    state = then(state, joins("a"), joins("b"))
    assert homes(state, "m") == ["a"]
    assert homes(then(state, lost("a")), "m") == ["s"]


def test_a_model_for_a_device_waits_for_one_that_has_it_and_leaves_it_to_no_other():
    state = waiting(plan("m", "place-0", engine="darwin3"), plan("n", "place-0"))
    state = then(
        told(State(begins=False), begins(plan("m", "p", engine="darwin3"), kinds=["darwin3"]), begins(plan("n", "p"))),
        joins("a"),
    )
    assert homes(state, "n") == ["a"]
    assert "1 of kind darwin3" in state.models["m"].failure
    state = then(state, lost("a"), joins("chip", "darwin3"))
    assert homes(state, "m") == ["chip"]


def test_a_worker_without_room_for_a_place_does_not_count():
    state = then(waiting(plan("m", "place-0", size=100)), joins("small", memory_bytes=50))
    assert "with room for 100 B" in state.models["m"].failure
    assert "(0 of the 1 here can)" in state.models["m"].failure
    assert homes(then(state, joins("large", memory_bytes=200)), "m") == ["large"]


def test_replicas_wait_for_workers_of_their_own():
    state = then(waiting(plan("m#1", "place-0"), plan("m#2", "place-0")), joins("a"))
    assert homes(state, "m#1") == ["a"]
    assert "without another replica of it" in state.models["m#2"].failure
    assert homes(then(state, joins("b")), "m#2") == ["b"]


def test_a_model_that_waits_holds_up_no_other_ones_moves():
    state = then(waiting(plan("m", "place-0"), plan("n", "p", "q", "r")), joins("a"), joins("b"))
    assert homes(state, "m") == ["a"]
    state = then(state, events.Ordered(3.0, "o", "drain", "a"))
    assert homes(state, "m") == ["b"]
    assert "a" not in state.workers


def test_what_nobody_can_take_over_waits_with_its_calls_and_goes_on_when_somebody_joins():
    state = then(waiting(plan("m", "place-0")), joins("a"))
    state = told(state, lost("a"))
    state, _ = until_quiet(state)
    model = state.models["m"]
    assert not model.stopped
    assert "to join" in model.failure
    assert len(state.recoveries) == 1
    state = then(state, joins("b"))
    assert homes(state, "m") == ["b"]
    assert state.recoveries == ()


def test_two_places_share_a_worker_after_a_loss_rather_than_wait():
    state = then(waiting(plan("m", "place-0", "place-1")), joins("a"), joins("b"))
    assert set(homes(then(state, lost("a")), "m")) == {"b"}


def test_nothing_is_ever_started():
    state = told(waiting(plan("m", "place-0"), spares=2), joins("a"), lost("a"))
    state, log = until_quiet(state)
    assert not any(isinstance(each, events.Start) for each in log)
    assert not any(isinstance(each, events.Start) for each in decide(state))


def test_a_model_of_a_lower_priority_makes_room_rather_than_that_another_one_waits():
    state = told(State(begins=False), begins(plan("low", "p", size=80)), begins(plan("high", "p", size=80), 5))
    state = then(state, joins("a", memory_bytes=100), joins("b", memory_bytes=100))
    state = then(state, lost(homes(state, "high")[0]))
    assert state.models["low"].stopped
    assert state.living(homes(state, "high")[0])


@pytest.mark.parametrize("happened", [joins("a"), lost("a"), events.Nothing(2.0)])
def test_waiting_changes_nothing_by_itself(happened):
    state = waiting(plan("m", "place-0", "place-1"))
    after = apply(state, happened)
    assert after.models["m"].epoch == state.models["m"].epoch


def test_a_host_that_joins_relieves_a_spare_of_what_it_took_over():
    state = then(waiting(plan("m", "place-0")), joins("s", role=SPARE), joins("a"))
    state = then(state, lost("a"))
    assert homes(state, "m") == ["s"]
    state = settled(state, joins("b"))
    assert homes(state, "m") == ["b"]
    assert state.orders == ()


def test_a_spare_keeps_what_only_a_busy_host_could_take():
    state = settled(waiting(plan("m", "p"), plan("n", "p")), joins("s", role=SPARE), joins("a"), joins("b"))
    first, second = homes(state, "m"), homes(state, "n")
    state = then(state, lost(first[0]), joins("t", role=SPARE))
    assert homes(state, "m") == ["s"]
    assert homes(state, "n") == second


@pytest.mark.parametrize("more", [(), ("t",)])
def test_a_busy_host_relieves_a_spare_by_a_rebalance_where_no_other_spare_is_left(more):
    state = settled(waiting(plan("m", "p"), plan("n", "p")), joins("a"), joins("b"), joins("s", role=SPARE))
    (home,), (other,) = homes(state, "m"), homes(state, "n")
    state = then(state, events.Ordered(2.0, "o", "drain", home), *(joins(each, role=SPARE) for each in more))
    assert homes(state, "m") == ["s"]
    state = then(state, events.Ordered(3.0, "o", "rebalance"))
    assert homes(state, "m") == (["s"] if more else [other])


def test_models_spread_by_themselves_to_hosts_that_join_later():
    state = then(waiting(plan("m", "p", busy_s=1.0), plan("n", "p", busy_s=1.0)), joins("a"))
    assert homes(state, "m") == homes(state, "n") == ["a"]
    state = settled(state, joins("b"))
    assert {*homes(state, "m"), *homes(state, "n")} == {"a", "b"}


def test_spreading_leaves_spares_alone_and_puts_no_two_replicas_together():
    state = then(waiting(plan("m#1", "p", busy_s=1.0), plan("m#2", "p", busy_s=9.0)), joins("a"), joins("b"))
    state = then(state, joins("s", role=SPARE), events.Ordered(3.0, "o", "rebalance"))
    assert sorted([*homes(state, "m#1"), *homes(state, "m#2")]) == ["a", "b"]
    assert [each.name for each in state.idle()] == ["s"]


def test_a_worker_with_a_part_of_a_model_that_waits_can_be_drained():
    state = waiting(plan("m", "p", "q", size=100))
    state = then(state, *(joins(each, memory_bytes=100) for each in "ab"))
    state = then(state, lost("a"))
    assert state.models["m"].failure
    state = then(state, events.Ordered(3.0, "o", "drain", "b"))
    assert state.workers == {}
    state = then(state, *(joins(each, memory_bytes=100) for each in "cd"))
    assert sorted(homes(state, "m")) == ["c", "d"]
