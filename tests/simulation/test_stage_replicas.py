"""Stages that run in several places, while everything else happens, too: no answer is lost or wrong, and sessions go on."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from synfire.control import events, losses
from synfire.deploy.stage_scaling import StageScaler
from synfire.gateway.lanes import Lanes
from synfire.plan.replicas import groups
from synfire.testing.simulation import random_schedule, run, shrunk
from synfire.testing.simulation.models import model
from synfire.testing.simulation.schedules import KINDS, ROLES, Asked, Fault, Schedule
from synfire.testing.simulation.simulation import Simulation
from synfire.worker.stage import Stage

CHUNK = 50
CHUNKS = 12


def several(seed: int, kinds: tuple[str, ...] = KINDS) -> Schedule:
    """The schedule of a seed, with up to three replicas of each stage, on up to four workers; in every third room is short."""
    drawn, rng = random_schedule(seed, kinds), np.random.default_rng([seed, 7])
    workers = [f"w{n}" for n in range(int(rng.integers(2, 5)))]

    def homes(count: int) -> tuple[str, ...]:
        most = [int(rng.integers(1, min(3, len(workers)) + 1)) for _ in range(count)]
        return tuple("+".join(str(each) for each in rng.permutation(workers)[:many]) for many in most)

    placed = tuple((name, homes(len(held)), steps) for name, held, steps in drawn.placed)
    held = Counter(worker for _, stages, _ in placed for each in stages for worker in each.split("+"))
    return replace(
        drawn,
        placed=placed,
        memory=drawn.memory and max(held.values()) + int(rng.integers(0, 2)),
        most=drawn.most and len(held) + drawn.spares + int(rng.integers(0, 2)),
    )


def story(failed):
    """What a failed run tells: its smallest form."""
    return f"seed {failed.schedule.seed} fails, which tells this story:\n\n{shrunk(failed).story()}"


@pytest.mark.parametrize("chunk", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CHUNKS))])
def test_what_is_promised_holds_where_stages_have_replicas(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        done = run(several(seed))
        assert not done.violation, story(done)


PLACED = (("fork", ("w0+w1", "w2", "w1+w3"), 2),)
"""Two stages send to one, and each of three frames of a call may come from elsewhere than the one before."""

ASKED = tuple(Asked(f"r{n}", "fork", 0.001 * n, n % 6, 6) for n in range(6))


def losing(seed: int, target: int, spares: int) -> Schedule:
    """A schedule in which a worker is killed while calls are under way."""
    faults = (Fault("kill", 20 + 20 * seed, target),)
    return Schedule(seed, PLACED, spares, ASKED, faults, shuffled=seed % 2 == 1)


@pytest.mark.parametrize("spares", [0, 1])
def test_a_lost_replica_costs_no_call(spares):
    told = [run(losing(seed, target, spares)) for target in range(4 + spares) for seed in range(10)]
    assert not [each.violation for each in told if each.violation]
    assert {each.errors for each in told} == {0}
    assert sum(each.replays for each in told) > 40
    assert sum(each.recoveries > 0 for each in told) == 40, "but where it was the spare"


TALK = tuple(Asked(f"s{i}", "fork", 0.004, i % 6, 4, session="s") for i in range(9))


def test_sessions_go_on_at_another_replica_from_their_checkpoints(monkeypatch):
    monkeypatch.setattr("synfire.gateway.protection.EVERY_CALLS", 2)
    told = []
    for seed in range(40):
        faults = (Fault("kill", 60 + 6 * seed, seed % 4),)
        told.append(run(Schedule(seed, PLACED, seed % 2, TALK, faults)))
    assert not [each.violation for each in told if each.violation]
    assert {each.errors for each in told} == {0}
    assert sum(each.restored for each in told) > 20


def test_schedules_have_replicas_and_lose_some():
    drawn = [several(seed) for seed in range(100)]
    plans = [model(*placed, each.fused)[1] for each in drawn for placed in each.placed]
    assert sum(len(groups(plan)) for plan in plans) > 200
    dropped = 0
    right = losses.rehomed

    def noted(state, refusal=""):
        nonlocal dropped
        after = right(state, refusal)
        counts = [sum(len(each.plan.stages) for each in found.models.values()) for found in (state, after)]
        dropped += counts[1] < counts[0]
        return after

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "rehomed", noted)
        assert not [done.violation for done in map(run, drawn[:50]) if done.violation]
    assert dropped > 10


def first_violation(seeds: int = 150) -> str:
    runs = (run(several(seed, ("kill", "cut", "drain"))) for seed in range(seeds))
    failed = next((done for done in runs if done.violation), None)
    assert failed is not None, f"{seeds} seeds did not notice"
    return failed.violation


def test_frames_go_to_every_replica(monkeypatch):
    monkeypatch.setattr(Stage, "departures", lambda stage, lane: stage.host.departures)
    assert re.search("still|no link|comes to no rest|holds", first_violation())


def test_frames_are_awaited_from_every_replica(monkeypatch):
    monkeypatch.setattr(Stage, "awaited", lambda stage, lane: (stage.senders, stage.timed_senders))
    assert first_violation()


def test_each_call_of_a_session_goes_where_the_least_is_to_do(monkeypatch):
    right = Lanes.choose
    monkeypatch.setattr(Lanes, "choose", lambda lanes, kept, able: right(lanes, {}, able))
    assert re.search("UserError|is not known", first_violation(300))


class Pressing(Simulation):
    """While everything else happens, stages have more and less to do."""

    def _begin(self) -> None:
        super()._begin()
        rng = np.random.default_rng(self.schedule.seed)
        for _ in range(int(rng.integers(2, 8))):
            press = (int(rng.integers(100)), int(rng.integers(1, 4)))
            self.loop.later(float(rng.uniform(0.0, 1.5)), self._press, *press)

    def _press(self, which: int, replicas: int) -> None:
        models = [each for each in self.state.models.values() if each.scaling]
        if models:
            model = models[which % len(models)]
            stage = model.scaling[which % len(model.scaling)]
            self.tell("test", f"has {model.name}.{stage.name} have work for {replicas}")
            self.arranged.controller.tell(events.Pressed(self.loop.time(), model.name, stage.name, replicas))


def pressed(seed: int) -> Schedule:
    """A schedule in which every stage has from one to three replicas, as its work takes."""
    drawn = several(seed, tuple(kind for kind in KINDS if kind not in ROLES))
    placed = tuple(
        (name, tuple(f"{each.split('+')[0]}/3" for each in homes), steps) for name, homes, steps in drawn.placed
    )
    return replace(drawn, placed=placed, memory=0, most=drawn.most and drawn.most + 2)


@pytest.mark.parametrize("chunk", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CHUNKS))])
def test_what_is_promised_holds_while_stages_scale(chunk, monkeypatch):
    async def nothing(scaler):
        """What is pressed here is not what workers tell."""

    monkeypatch.setattr(StageScaler, "look", nothing)
    scaled = 0
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        done = Pressing(pressed(seed)).run()
        assert not done.violation, f"seed {seed} fails, which tells this story:\n\n{done.story()}"
        scaled += sum("has" in what and "work for" in what for _, _, what in done.trace)
    assert scaled > CHUNK
