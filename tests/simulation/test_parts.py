"""Stages that were fused are split while everything else happens, too: no answer is lost or wrong, and sessions go on."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest

from synfire.control import moves, placement
from synfire.control.state import ModelView
from synfire.gateway import recut, route
from synfire.testing.simulation import random_schedule, run
from synfire.testing.simulation.schedules import Asked, Fault, Schedule
from synfire.worker.stage import Stage

PLACED = (
    ("chain", ("w0", "w0", "w0"), 2),
    ("twin", ("w1", "w2"), 2),
    ("encoded", ("w1", "w1", "w1"), 3),
    ("fork", ("w2", "w2", "w2"), 1),
)
"""With room for six stages a worker, nobody else has room for `chain` as a whole, and two together have."""


def scarce(seed: int, *kinds: str) -> Schedule:
    """A schedule in which what is on w0 has to go, for the first of these reasons."""
    drawn = random_schedule(seed, kinds)
    first = Fault(kinds[0], drawn.faults[0].at % 200, 0, "", 0.0)
    faults = (Fault("no start", 0, amount=9.0), first, *drawn.faults[1:2])
    return replace(
        drawn, placed=PLACED, spares=0, memory=6, most=3, priorities=(), fused=True, gateways=0, faults=faults
    )


def splits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that are split from now on."""
    found: list[str] = []
    right = placement.divided

    def noted(model, name, homes):
        if not {"?", ""} & set(homes):
            found.append(f"{model.name}.{name}")
        return right(model, name, homes)

    monkeypatch.setattr(placement, "divided", noted)
    return found


@pytest.mark.parametrize("kinds", [("kill",), ("leave", "cut"), ("drain", "kill"), ("hang", "rebalance", "drain")])
def test_a_stage_that_nobody_has_room_for_goes_on_in_parts(kinds, monkeypatch):
    noted = splits(monkeypatch)
    told = [run(scarce(seed, *kinds)) for seed in range(40)]
    assert not [each.violation for each in told if each.violation]
    assert noted.count("chain.l0..n2") >= 5
    assert sum(each.answered for each in told) > 100


TALK = tuple(Asked(f"s{i}", "chain", 0.004, i % 6, 4, session="s") for i in range(9))


def test_sessions_go_on_in_parts_from_their_checkpoints(monkeypatch):
    taken = []
    right = recut.recut

    def noted(graph, plan, states, parts):
        taken.append(plan.model)
        return right(graph, plan, states, parts)

    monkeypatch.setattr(route, "recut", noted)
    monkeypatch.setattr("synfire.gateway.protection.EVERY_CALLS", 2)
    told = []
    for seed in range(40):
        schedule = scarce(seed, "kill", "drain")
        none, kill, *others = schedule.faults
        late = (none, replace(kill, at=60 + 2 * seed), *others)  # when there is a checkpoint
        told.append(run(replace(schedule, requests=TALK, faults=late)))
    assert not [each.violation for each in told if each.violation]
    assert len(taken) >= 5


def tight(seed: int, *kinds: str) -> Schedule:
    """A schedule in which two parts of `chain` have to go, each to a worker of its own, and the third one stays."""
    placed = (("chain", ("w0", "w0", "w1"), 2), ("twin", ("w2", "w3"), 2))
    others = tuple(replace(each, model="twin", session="", name=f"t{n}") for n, each in enumerate(TALK))
    return replace(scarce(seed, *kinds), placed=placed, memory=2, most=4, requests=(*TALK, *others))


@pytest.mark.parametrize("kinds", [("kill",), ("drain", "cut")])
def test_stages_that_stay_hear_from_the_parts_of_those_before_them(kinds, monkeypatch):
    noted = splits(monkeypatch)
    told = [run(tight(seed, *kinds)) for seed in range(40)]
    assert not [each.violation for each in told if each.violation]
    assert noted.count("chain.l0..n1") >= 5


def first_violation(seeds: int = 400, made=scarce) -> str:
    runs = (run(made(seed, "drain", "kill")) for seed in range(seeds))
    failed = next((done for done in runs if done.violation), None)
    assert failed is not None, f"{seeds} seeds did not notice"
    return failed.violation


def test_parts_are_adopted_beside_the_stage_that_they_were(monkeypatch):
    monkeypatch.setattr(ModelView, "gone", property(lambda view: iter(())))
    assert re.search("left over|has room|no end|KeyError", first_violation())


def test_no_stage_is_ever_split(monkeypatch):
    monkeypatch.setattr(placement, "parted", lambda *_, **__: ())
    monkeypatch.setattr(moves, "parted", lambda *_, **__: ())
    assert "is stopped" in first_violation()


def test_stages_that_stay_are_not_told_how_the_parts_are_called(monkeypatch):
    def wrong(stage, epoch, arrivals, departures):
        stage.host = msgspec.structs.replace(stage.host, epoch=epoch, departures=departures)

    monkeypatch.setattr(Stage, "relink", wrong)
    assert "has no link from" in first_violation(made=tight)
