"""Thousands of failure schedules, each lived through on virtual time: whatever fails, what is promised holds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from synfire.testing.simulation import Asked, Fault, Schedule, random_schedule, run, shrunk
from synfire.testing.simulation.__main__ import main
from synfire.testing.simulation.schedules import KINDS, smaller

CHUNK = 50
CHUNKS = 40


def story(failed):
    """What a failed run tells: its smallest form, and how to see it again."""
    command = f"python -m synfire.testing.simulation --seed {failed.schedule.seed}"
    return f"seed {failed.schedule.seed} fails; `{command}` tells this story:\n\n{shrunk(failed).story()}"


@pytest.mark.parametrize("chunk", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CHUNKS))])
def test_what_is_promised_holds_whatever_fails(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        done = run(random_schedule(seed))
        assert not done.violation, story(done)


@pytest.mark.slow
def test_a_seed_gives_one_run_exactly():
    for seed in range(25):
        one, other = run(random_schedule(seed)), run(random_schedule(seed))
        assert one.trace == other.trace
        assert one.steps == other.steps


@pytest.mark.slow
def test_a_seed_gives_the_same_run_in_another_process():
    command = [sys.executable, "-m", "synfire.testing.simulation", "--seed", "7", "--frames"]
    stories = [
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True
        ).stdout
        for salt in "12"
    ]
    assert stories[0] == stories[1]
    assert "→" in stories[0]


@pytest.mark.slow
def test_schedules_reach_what_they_are_meant_to_try():
    runs = [run(random_schedule(seed)) for seed in range(200)]
    told = "\n".join(what for done in runs for _, _, what in done.trace)
    assert {fault.kind for done in runs for fault in done.schedule.faults} == set(KINDS)
    assert sum(done.recoveries for done in runs) > 100
    assert sum(done.replays for done in runs) > 50
    assert sum(done.restored for done in runs) > 0
    for words in (
        "goes away",
        "hears DeadlineExceeded",
        "hears UnknownName",
        "fails to start",
        "breaks the link",
        "has left",
        "of the state 'n0/v' is flipped",
        "hears DeviceMended",
        "hears Severed",
    ):
        assert words in told, words


def test_calls_hear_it_when_no_worker_can_be_started():
    faults = (Fault("no start", 1, amount=9.0), Fault("kill", 2))
    done = run(Schedule(1, (("chain", ("w0", "w0", "w0"), 2),), 0, (Asked("r0", "chain", 0.0, 0, 8),), faults))
    assert not done.violation
    assert (done.answered, done.errors) == (1, 1)  # the one that is asked at the end: starting is tried again and again
    assert "cannot be served" in done.story()


def test_calls_hear_so_in_the_same_words_when_the_controller_is_another_one():
    faults = (Fault("no start", 1, amount=9.0), Fault("kill", 2), Fault("kill controller", 3, on="Start"))
    asked = tuple(Asked(f"r{n}", "chain", at_s, 0, 8) for n, at_s in enumerate((0.0, 12.5)))
    done = run(Schedule(1, (("chain", ("w0", "w0", "w0"), 2),), 0, asked, faults, gateways=1))
    assert not done.violation
    assert done.story().count("model 'chain' cannot be served: no worker is left") == 2


def test_calls_are_tried_until_their_deadline_where_nobody_lays_another_way():
    faults = (Fault("sever", 0, 8, amount=2.9), Fault("kill controller", 0, 11))
    asked = (Asked("r", "chain", 0.01, 0, 1, part_steps=1),)
    done = run(Schedule(13, (("chain", ("w2", "w0", "w0"), 1),), 0, asked, faults, gateways=1))
    assert not done.violation
    assert (done.answered, done.errors) == (2, 0)  # the one that is asked at the end, too


def test_smaller_schedules_leave_something_out():
    schedule = random_schedule(3)
    assert len(schedule.faults) > 1
    for each in smaller(schedule):
        assert each != schedule
        assert len(each.faults) <= len(schedule.faults)
        assert len(each.requests) <= len(schedule.requests)


def test_the_command_tells_the_story_of_a_seed(capsys):
    assert main(["--seed", "7"]) == 0
    told = capsys.readouterr().out
    assert "seed 7" in told
    assert "controller hears WorkerReady" in told
    assert "all is well" in told
