"""The simulation finds bugs in planned moves and in what is done when room runs out: each test breaks one rule."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from synfire.base.errors import TemporaryError
from synfire.control import controller, decide, losses, moves, placement
from synfire.control.events import Drop
from synfire.control.state import State
from synfire.deploy import healing
from synfire.deploy.healing import Healing
from synfire.gateway.route import WorkerRoute
from synfire.testing.simulation import random_schedule, run
from synfire.testing.simulation.schedules import FAULTS, ORDERS

DROP = Healing.drop


def first_violation(kinds, seeds=400, **changes):
    """The first run that violates something, of so many."""
    runs = (run(replace(random_schedule(seed, kinds), **changes)) for seed in range(seeds))
    failed = next((done for done in runs if done.violation), None)
    assert failed is not None, f"{seeds} seeds did not notice"
    return failed.violation


def cramped(kinds, seeds=1500):
    """The first violation among the schedules in which room is short."""
    schedules = (random_schedule(seed, kinds) for seed in range(seeds))
    runs = (run(each) for each in schedules if each.memory)
    return next((done.violation for done in runs if done.violation), "")


@pytest.mark.parametrize("kinds", [pytest.param(ORDERS, marks=pytest.mark.slow), (*FAULTS, *ORDERS)])
def test_planned_moves_alone_let_no_call_fail(kinds):
    told = [run(random_schedule(seed, kinds)) for seed in range(5000, 5060)]
    assert not [each.violation for each in told if each.violation]
    if kinds == ORDERS:
        calm = [each for each in told if not each.schedule.memory]
        assert not [
            what for each in calm for _, who, what in each.trace if "hears TemporaryError" in what and who != "operator"
        ]
    words = "\n".join(what for each in told for _, _, what in each.trace)
    assert all(f"orders {kind}" in words for kind in ORDERS)
    assert len(re.findall(r"has it: [1-9]\d* stages moved", words)) >= 5


def test_room_not_counted(monkeypatch):
    monkeypatch.setattr(State, "room", lambda state, worker: float("inf"))
    assert "has room for" in cramped(("kill",))


@pytest.mark.slow
def test_room_taken_before_it_is_made(monkeypatch):
    monkeypatch.setattr(decide, "_vacant", lambda state, worker: True)
    monkeypatch.setitem(healing._DOING, Drop, slow_drop)
    assert "has room for" in cramped(("kill",))


async def slow_drop(healing, action):
    """The worker is told to drop stages a little late."""
    await asyncio.sleep(0.005)
    return await DROP(healing, action)


def test_drops_that_come_late_and_overlap_leave_alone_what_is_wanted(monkeypatch):
    monkeypatch.setitem(healing._DOING, Drop, slow_drop)
    told = [run(random_schedule(seed, ORDERS)) for seed in range(40, 60)]
    assert not [each.violation for each in told if each.violation]


def test_what_was_handed_over_is_not_dropped(monkeypatch):
    monkeypatch.setattr(
        controller, "decide", lambda state: tuple(e for e in decide.decide(state) if not isinstance(e, Drop))
    )
    assert re.search("left over|no end|Endless", first_violation(("rebalance", "kill")))


@pytest.mark.slow
def test_the_more_important_model_is_stopped(monkeypatch):
    monkeypatch.setattr(placement, "_with_room_made", lambda state, model, lost: None)
    assert "of less important models" in cramped(("kill",))


def test_stopped_models_never_come_back(monkeypatch):
    right = losses.rehomed

    def wrong(state, refusal=""):
        after = right(state, refusal)
        back = {n: state.models[n] for n, each in after.models.items() if state.models[n].told and not each.failure}
        return replace(after, models={**after.models, **back})

    monkeypatch.setattr(losses, "rehomed", wrong)
    assert re.search("is still stopped|is stopped .* with room for", cramped(("kill",)))


def test_an_upgrade_does_not_wait_for_fresh_workers(monkeypatch):
    right = State.idle
    monkeypatch.setattr(moves, "_refilling", lambda state, order, at_s: state)

    def wrong(state, order, at_s):
        old = [name for name in order.leaving if name in state.workers]
        spare = next((each.name for each in right(state) if each.name in old), None)
        return moves._retiring(state, order, spare) if spare else moves._ended(state, order, at_s)

    monkeypatch.setitem(moves._STEPS, "upgrade", wrong)
    assert re.search("fewer than|still there", first_violation(("upgrade",)))


@pytest.mark.slow
def test_sessions_are_thought_to_be_where_they_were_before_a_move(monkeypatch):
    async def wrong(route, way, track, call):
        if track is not None:
            track.epoch = way.epoch

    monkeypatch.setattr(WorkerRoute, "_bring_back", wrong)
    assert re.search("session|wrong bits", first_violation(ORDERS, 1200))


def test_calls_are_refused_for_another_reason(monkeypatch):
    monkeypatch.setattr("synfire.deploy.healing.TemporaryError", lambda *words: TemporaryError("sorry"))
    assert "an error that nothing justifies: TemporaryError('sorry')" in cramped(("kill",))
