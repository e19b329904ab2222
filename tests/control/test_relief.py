"""Stages come to lie well by themselves where all workers are begun by others, and are not moved to and fro."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import homes, lost, plan, told, until_quiet

from synfire.control import events
from synfire.control.relief import RELIEF_S, SETTLED_S
from synfire.control.state import SPARE, State

HOSTS, SPARES = ("a", "b", "c"), ("s", "t")


def joins(name, at_s=1.0):
    return events.WorkerReady(at_s, name, "cpu", name, joined=True, role=SPARE if name in SPARES else "host")


def then(state, *happened):
    state, log = until_quiet(told(state, *happened))
    return state, [each for each in log if isinstance(each, events.Suspend)]


def serving(*workers, stages=2):
    """A model with so many stages on these, where nothing begins workers."""
    added = events.ModelAdded(-100.0, plan("m", *["p", "q", "r"][:stages], busy_s=1.0), fresh=True)
    state, _ = then(State(begins=False), *(joins(each, -100.0) for each in workers), added)
    state, _ = later(state, 0.0)
    assert (state.models["m"].failure, state.joined_s) == ("", None)
    return state


def later(state, at_s):
    return then(state, events.Retry(at_s))


@pytest.mark.parametrize("cause", ["leaving", "exit", "host lost"])
def test_a_spare_is_relieved_by_busy_hosts_when_who_has_gone_does_not_come_back(cause):
    state, _ = then(serving("a", "b", "s"), lost("b", 10.0, cause))
    assert homes(state, "m") == ["a", "s"]
    waiting, moves = later(state, 9.0 + RELIEF_S)
    assert (homes(waiting, "m"), moves) == (["a", "s"], [])
    state, moves = later(waiting, 10.0 + RELIEF_S)
    assert (homes(state, "m"), len(moves)) == (["a", "a"], 1)
    assert (state.orders, state.joined_s, state.deserted_s) == ((), None, None)
    assert later(state, 1e6)[1] == []


def test_so_it_is_when_somebody_has_drained_it():
    state, _ = then(serving("a", "b", "s"), events.Ordered(10.0, "o", "drain", "b"))
    assert "b" not in state.workers
    assert homes(later(state, 10.0 + RELIEF_S)[0], "m") == ["a", "a"]


def test_nothing_is_moved_to_and_fro_for_one_that_comes_back_in_time():
    state, first = then(serving("a", "b", "s"), lost("b", 10.0, "leaving"))
    state, _ = then(state, joins("b", 30.0))
    assert homes(state, "m") == ["a", "s"]
    state, second = later(state, 30.0 + SETTLED_S)
    assert (homes(state, "m"), len(first), len(second)) == (["a", "b"], 1, 1)
    state, third = later(state, 10.0 + RELIEF_S)
    assert (homes(state, "m"), third) == (["a", "b"], [])


def test_hosts_that_are_begun_anew_one_after_the_other_cost_one_move_each_and_one_more():
    state, at_s, moved = serving("a", "b", "c", "s", stages=3), 100.0, 0
    for name in "cba":
        state, moves = then(state, lost(name, at_s, "leaving"))
        moved += len(moves)
        state, moves = then(state, joins(name, at_s + SETTLED_S / 3))
        moved += len(moves)
        at_s += SETTLED_S / 2
    state, moves = later(state, at_s + SETTLED_S)
    assert (sorted(homes(state, "m")), moved, len(moves)) == (["a", "b", "c"], 3, 1)


def test_a_spare_that_goes_or_comes_has_nothing_moved_that_is_well_where_it_is():
    state, _ = then(serving("a", "b", "s"), lost("s", 10.0))
    state, _ = later(state, 10.0 + RELIEF_S)
    state, moves = then(state, joins("s", 200.0), events.Retry(200.0 + RELIEF_S))
    assert (homes(state, "m"), moves) == (["a", "b"], [])


def test_a_spare_keeps_what_nobody_else_has_room_for():
    state = State(begins=False)
    added = events.ModelAdded(1.0, plan("m", "p", "q", size=60), fresh=True)
    small = (events.WorkerReady(1.0, name, "cpu", name, 100, joined=True) for name in "ab")
    spare = events.WorkerReady(1.0, "s", "cpu", "s", 100, joined=True, role=SPARE)
    state, _ = then(state, *small, spare, added)
    state, _ = then(state, lost("b", 10.0))
    state, moves = later(state, 10.0 + RELIEF_S)
    assert (homes(state, "m"), moves) == (["a", "s"], [])
    assert not state.orders


def test_what_waits_for_a_host_is_not_hurried_by_that():
    state, _ = then(serving("a", "b"), lost("a", 10.0), lost("b", 11.0))
    state, _ = later(state, 11.0 + RELIEF_S)
    assert "to join" in state.models["m"].failure
    assert homes(then(state, joins("c", 200.0))[0], "m") == ["c", "c"]


def test_who_has_built_a_stage_takes_over_before_who_would_have_to_build_it_while_calls_wait():
    state, _ = then(serving("a", "b", "s"), lost("a", 10.0, "leaving"))
    state = told(state, joins("c", 20.0), lost("b", 20.1, "leaving"))  # it has built nothing yet
    assert set(homes(state, "m")) == {"s"}
    state, _ = then(state)
    state, _ = later(state, 20.1 + SETTLED_S)
    assert set(homes(state, "m")) == {"c"}  # it has built both since, and they were moved


def test_who_has_built_as_much_as_others_takes_over_if_it_has_the_least_to_do():
    state = serving("a", "b", "c", "s", stages=3)
    state, _ = then(state, lost("a", 10.0))
    state, _ = then(state, joins("a", 20.0))
    state, _ = then(state, lost("b", 25.0))
    assert sorted(homes(state, "m")) == ["a", "c", "s"]


happenings = st.lists(
    st.tuples(st.sampled_from([*HOSTS, *SPARES]), st.floats(0.1, 50.0), st.booleans()), min_size=1, max_size=12
)


@given(happenings, st.integers(1, 3))
def test_whoever_comes_and_goes_spares_are_free_in_the_end_and_nothing_moves_any_more(happened, stages):
    state, at_s = serving("a", "b", "c", "s", "t", stages=stages), 10.0
    for name, pause_s, quickly in happened:
        at_s += pause_s
        state = told(state, lost(name, at_s) if name in state.workers else joins(name, at_s))
        state = state if quickly else then(state)[0]
    state, _ = then(state)
    state, _ = later(state, at_s + RELIEF_S)
    hosting = {name for name in SPARES if name in state.workers and state.load(name)}
    if any(name in state.workers for name in HOSTS):
        idle = [name for name in SPARES if name in state.workers and name not in hosting]
        assert not hosting or idle, "a busy host relieves the last spare"
        assert not state.models["m"].failure
    for more in (1, 2, 3):
        state, moves = later(state, at_s + more * 10 * RELIEF_S)
        assert moves == []
    assert then(state, events.Ordered(1e6, "o", "rebalance"))[1] == []
