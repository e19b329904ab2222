"""How many places no worker fills, where others begin them."""

from __future__ import annotations

from dataclasses import replace

from stories import lost, plan, serving, told, until_quiet
from test_joined import joins
from test_stage_replicas import asked_for, pressed, scaling

from synfire.control import events
from synfire.control.state import SPARE
from synfire.control.vacancies import vacancies


def waiting(wanted, **settings):
    """A deployment that has no worker yet, and serves the plan when it has."""
    state = told(serving(workers=(), begins=False, **settings), events.ModelAdded(0.0, wanted, fresh=True))
    return until_quiet(state)[0]


def test_a_model_that_was_never_served_has_all_its_places_vacant_until_each_is_filled():
    state = waiting(plan("m", "here", "there"))
    assert vacancies(state) == {"cpu": 2}
    state, _ = until_quiet(told(state, joins("a")))
    assert vacancies(state) == {"cpu": 2}
    spare = events.WorkerReady(1.0, "x", joined=True, role=SPARE)
    assert vacancies(until_quiet(told(state, spare))[0]) == {"cpu": 2}
    assert vacancies(until_quiet(told(state, joins("b")))[0]) == {}


def test_a_place_is_not_vacant_that_a_worker_has_room_for_which_hosts_others():
    state, _ = until_quiet(told(waiting(plan("m", "here")), joins("a")))
    state, _ = until_quiet(told(state, events.ModelAdded(2.0, plan("n", "here", "there"), fresh=True)))
    assert vacancies(state) == {"cpu": 1}
    assert vacancies(until_quiet(told(state, joins("b")))[0]) == {}


def test_places_on_devices_are_counted_apart():
    state = waiting(plan("m", "here:darwin3", "there"), devices={"darwin3": 0})
    assert vacancies(state) == {"cpu": 1, "darwin3": 1}


def test_what_a_lost_worker_hosted_is_vacant_where_the_others_have_no_room():
    small = [replace(joins(name), memory_bytes=1) for name in ("a", "b")]
    state, _ = until_quiet(told(waiting(plan("m", "here", "there", size=1)), *small))
    assert not state.models["m"].failure
    state, _ = until_quiet(told(state, lost("a")))
    assert vacancies(state) == {"cpu": 1}
    state, _ = until_quiet(told(state, replace(joins("c"), memory_bytes=1)))
    assert vacancies(state) == {}


def test_replicas_that_nobody_takes_are_vacant():
    state, _ = until_quiet(told(scaling(1, 4, begins=False), pressed(3)))
    assert vacancies(state) == {"cpu": 2}
    state, _ = until_quiet(told(state, joins("x")))
    assert vacancies(state) == {"cpu": 1}
    state, _ = until_quiet(told(state, asked_for(1, 1)))
    assert vacancies(state) == {}


def test_whoever_begins_workers_itself_has_no_vacancies():
    state, _ = until_quiet(told(scaling(1, 4), pressed(3)), no_starts=True)
    assert vacancies(state) == {}


def test_what_sleeps_leaves_nothing_vacant_until_it_is_called():
    state, _ = until_quiet(told(waiting(plan("m", "here")), joins("a")))
    asleep, _ = until_quiet(told(state, events.Slept(2.0, "m"), lost("a")))
    assert vacancies(asleep) == {}
    called, _ = until_quiet(told(asleep, events.Slept(3.0, "m", False)))
    assert vacancies(called) == {"cpu": 1}
    assert vacancies(until_quiet(told(called, joins("b")))[0]) == {}
