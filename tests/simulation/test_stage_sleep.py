"""Single stages sleep and wake, while everything else happens, too: no answer is lost or wrong, and sessions go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synfire.control import events
from synfire.deploy.roles.wishing import StageSleeper
from synfire.testing.simulation import random_schedule, run, shrunk
from synfire.testing.simulation.schedules import Asked, Fault, Schedule
from synfire.testing.simulation.simulation import Run, Simulation

CHUNK = 40
CHUNKS = 10


def story(failed: Run) -> str:
    """What a failed run tells: its smallest form."""
    return f"seed {failed.schedule.seed} fails, which tells this story:\n\n{shrunk(failed).story()}"


def drowsy(seed: int) -> Schedule:
    """The schedule of a seed, with a controller and gateways that are processes, in which half of the stages sleep soon."""
    drawn, rng = random_schedule(seed), np.random.default_rng([seed, 11])

    def homes(held: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{each}~{rng.uniform(0.1, 1.0):.2f}" if rng.random() < 0.5 else each for each in held)

    placed = tuple((name, homes(held), steps) for name, held, steps in drawn.placed)
    later = tuple(
        replace(each, at_s=each.at_s + 3.0 * rng.random() * (rng.random() < 0.5), leaves_s=0.0)
        for each in drawn.requests
    )
    return replace(drawn, placed=placed, requests=later, gateways=drawn.gateways or 1)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, frozenset[str]]]:
    """What stages were told to sleep, by model, in order; none where they were woken."""
    found: list[tuple[str, frozenset[str]]] = []
    right = StageSleeper.look

    def look(sleeper: StageSleeper, calls: dict[str, int]) -> None:
        tell = sleeper._tell
        sleeper._tell = lambda model, stages: (found.append((model, stages)), tell(model, stages))[1]
        try:
            right(sleeper, calls)
        finally:
            sleeper._tell = tell

    monkeypatch.setattr(StageSleeper, "look", look)
    return found


@pytest.mark.parametrize("chunk", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CHUNKS))])
def test_what_is_promised_holds_where_stages_sleep(chunk, told):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        done = run(drowsy(seed))
        assert not done.violation, story(done)
    assert sum(bool(stages) for _, stages in told) > CHUNK
    assert sum(not stages for _, stages in told) > CHUNK


PLACED = (("chain", ("w0", "w1~0.5", "w2"), 2),)
LATE = tuple(Asked(f"r{n}", "chain", 3.0 * n, n % 6, 6) for n in range(4))


def test_a_call_that_finds_a_stage_asleep_is_held_and_answered(told):
    done = run(Schedule(1, PLACED, 0, LATE, (), gateways=2))
    assert (done.violation, done.answered, done.errors) == ("", 4 + 2, 0), "and two probes"
    assert told.count(("chain", frozenset({"s1"}))) >= 3
    assert told.count(("chain", frozenset())) >= 3


def test_the_worker_that_is_to_wake_it_may_die_meanwhile(told):
    faults = tuple(Fault("kill", n, n, "Adopt") for n in range(3))
    for spares in (0, 1):
        done = run(Schedule(2, PLACED, spares, LATE, faults, gateways=1))
        assert (done.violation, done.errors) == ("", 0), story(done)
        assert done.recoveries > 0


TALK = tuple(Asked(f"s{i}", "chain", 1.5, i % 6, 4, session="s") for i in range(6))


def test_a_session_goes_on_exactly_where_a_stage_has_slept_between_its_calls(told, monkeypatch):
    monkeypatch.setattr("synfire.gateway.protection.EVERY_CALLS", 2)
    done = run(Schedule(3, PLACED, 0, TALK, (), gateways=1))
    assert (done.violation, done.errors) == ("", 0), story(done)
    assert sum(bool(stages) for _, stages in told) >= 5
    assert done.restored >= 5


def test_a_call_whose_time_is_over_before_anybody_hosts_the_stage_is_told_so():
    """Its worker has died while it slept, and a worker takes longer to start than this caller has."""
    early, late = Asked("r0", "chain", 0.0, 0, 6), Asked("r1", "chain", 4.0, 1, 6, timeout_s=0.05)
    done = run(Schedule(4, PLACED, 0, (early, late), (Fault("kill", 0, 0, "Drop"),), memory=1, gateways=1))
    assert (done.violation, done.answered, done.errors) == ("", 2, 1), "the first call, and the probe"
    (said,) = [what for _, who, what in done.trace if who == "r1" and "hears" in what]
    assert "passed its deadline" in said


class Napping(Simulation):
    """While everything else happens, stages are told to sleep, and to wake soon after."""

    def _begin(self) -> None:
        super()._begin()
        rng = np.random.default_rng(self.schedule.seed)
        for _ in range(int(rng.integers(2, 6))):
            at_s = float(rng.uniform(0.0, 1.5))
            self.loop.later(at_s, self._rest_some, int(rng.integers(1000)))
            self.loop.later(at_s + float(rng.uniform(0.0, 0.3)), self._wake)
        self.loop.later(2.0, self._wake)

    def _rest_some(self, which: int) -> None:
        for name, model in self.state.models.items():
            stages = frozenset(each.original for n, each in enumerate(model.plan.stages) if which >> n & 1)
            self.tell("test", f"has {', '.join(sorted(stages))} of {name} sleep")
            self.arranged.controller.tell(events.Rested(self.loop.time(), name, stages))

    def _wake(self) -> None:
        for name in self.state.models:
            self.arranged.controller.tell(events.Rested(self.loop.time(), name))


@pytest.mark.parametrize("chunk", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CHUNKS))])
def test_what_is_promised_holds_while_stages_are_told_to_sleep_at_any_moment(chunk):
    napped = 0
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        done = Napping(replace(random_schedule(seed), gateways=0)).run()
        assert not done.violation, f"seed {seed} fails, which tells this story:\n\n{done.story()}"
        napped += sum(what.endswith(" sleep") for _, _, what in done.trace)
    assert napped > CHUNK
