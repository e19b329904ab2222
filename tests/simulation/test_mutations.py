"""The simulation finds bugs: each test breaks one rule of the real code, and the checker must notice."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import msgspec
import pytest

from synfire.base.errors import Interrupted
from synfire.control import controller
from synfire.control.decide import decide
from synfire.control.events import Relink, Resume
from synfire.gateway.deadline import Deadline
from synfire.gateway.route import Attempt, WorkerRoute
from synfire.testing.simulation import random_schedule, run, shrunk
from synfire.testing.simulation.__main__ import main
from synfire.worker import sessions
from synfire.worker.core import Core
from synfire.worker.hosting import Stages
from synfire.worker.membranes import Membranes

SEEDS = 150
WRONG_PARTS = "should come begins at step|with a last part|the last of"


def first_violation(kinds, seeds=SEEDS, **changes):
    """The first run that violates something, of so many."""
    runs = (run(replace(random_schedule(seed, kinds), **changes)) for seed in range(seeds))
    failed = next((done for done in runs if done.violation), None)
    assert failed is not None, f"{seeds} seeds did not notice"
    return failed


@pytest.mark.slow
def test_epoch_check_left_out(monkeypatch):
    right = Stages.awaiting

    def wrong(stages, frame):
        return right(stages, frame) if frame.number else stages.named(frame.model, frame.receiver)

    monkeypatch.setattr(Stages, "awaiting", wrong)
    assert "of epoch" in first_violation(("leave",), 1000, shuffled=True).violation  # what is cancelled is refused, too


def test_part_given_twice(monkeypatch):
    right = Attempt.__init__

    def wrong(attempt, route, way, call, given=0, track=None):
        right(attempt, route, way, call, 0, track)

    monkeypatch.setattr(Attempt, "__init__", wrong)
    assert re.search(WRONG_PARTS, first_violation(("kill",)).violation)


def test_part_left_out(monkeypatch):
    right = Attempt.__init__

    def wrong(attempt, route, way, call, given=0, track=None):
        right(attempt, route, way, call, given + 1, track)

    monkeypatch.setattr(Attempt, "__init__", wrong)
    assert re.search(WRONG_PARTS, first_violation(("kill",)).violation)


def test_interrupted_call_not_replayed(monkeypatch):
    async def wrong(route, way, *_):
        raise Interrupted("the worker is gone; try again")

    monkeypatch.setattr(WorkerRoute, "_another", wrong)
    assert "an error that nothing justifies: Interrupted" in first_violation(("kill",)).violation


@pytest.mark.slow
def test_stages_relinked_with_requests_of_the_older_epoch(monkeypatch):
    right = Core.relink

    def wrong(core, relink):
        with monkeypatch.context() as changed:
            changed.setattr(core, "cancel", lambda request: None)
            right(core, relink)

    monkeypatch.setattr(Core, "relink", wrong)
    assert "of epoch" in first_violation(("kill", "cut off"), 400).violation


def test_lost_frame_not_told(monkeypatch):
    monkeypatch.setattr(Core, "lost_address", lambda core, address, error: None)
    monkeypatch.setattr(Core, "lost_senders", lambda core, keys, error: None)
    monkeypatch.setattr(Core, "fail", lambda core, request, origin, error: core.cancel(request))
    assert "DeadlineExceeded" in first_violation(("cut",), 600).violation


def test_model_never_resumed(monkeypatch):
    monkeypatch.setattr(
        controller, "decide", lambda state: tuple(each for each in decide(state) if not isinstance(each, Resume))
    )
    assert re.search("does not come to rest|DeadlineExceeded", first_violation(("kill",)).violation)


def test_stages_that_stay_not_relinked(monkeypatch):
    monkeypatch.setattr(
        controller, "decide", lambda state: tuple(each for each in decide(state) if not isinstance(each, Relink))
    )
    assert re.search("does not come to rest|DeadlineExceeded", first_violation(("kill",)).violation)


@pytest.mark.slow
def test_calls_under_way_not_interrupted(monkeypatch):
    def wrong(route):
        route._suspended = True
        route._held = 0

    monkeypatch.setattr(WorkerRoute, "suspend", wrong)
    first_violation(("leave", "kill"), 400)


def test_buffer_not_given_back(monkeypatch):
    right = Core._leave

    def wrong(core, visit, broken=False):
        before = core.buffered_bytes
        right(core, visit, broken)
        core.buffered_bytes = before

    monkeypatch.setattr(Core, "_leave", wrong)
    assert "still buffers" in first_violation(("kill", "cut")).violation


@pytest.mark.slow
def test_cancelled_request_kept(monkeypatch):
    right = WorkerRoute._abandon
    monkeypatch.setattr(
        WorkerRoute, "_abandon", lambda route, way, request, call: right(route, way, f"{request}?", call)
    )
    assert "still holds the requests" in first_violation(("kill",)).violation


def test_session_begun_afresh_in_silence(monkeypatch):
    right = sessions.begin

    def wrong(visit):
        visit.first = msgspec.structs.replace(visit.first, start=True)
        right(visit)

    monkeypatch.setattr(sessions, "begin", wrong)
    assert "wrong bits" in first_violation(("kill",)).violation


def test_flipped_bits_not_looked_for(monkeypatch):
    monkeypatch.setattr(Membranes, "check", lambda membranes, visit: None)
    assert "wrong bits" in first_violation(("flip",)).violation


@pytest.mark.slow
def test_session_not_brought_back(monkeypatch):
    async def wrong(route, way, track, call):
        if track is not None:
            track.epoch = way.epoch

    monkeypatch.setattr(WorkerRoute, "_bring_back", wrong)
    assert re.search("session|wrong bits", first_violation(("kill",), 400).violation)


@pytest.mark.slow
def test_deadline_that_never_passes(monkeypatch):
    monkeypatch.setattr(Deadline, "overdue", lambda deadline: None)
    monkeypatch.setattr(Attempt, "overdue", lambda attempt: None)
    assert "after the deadline" in first_violation(("kill", "hang")).violation


def test_task_left_behind(monkeypatch):
    right = WorkerRoute.resume

    def wrong(route, plan, peers, epoch):
        route.left = asyncio.ensure_future(asyncio.Event().wait())
        return right(route, plan, peers, epoch)

    monkeypatch.setattr(WorkerRoute, "resume", wrong)
    assert "are left" in first_violation(("kill",)).violation


@pytest.mark.slow
def test_failing_schedule_is_shrunk_and_told(monkeypatch, capsys):
    async def wrong(route, way, *_):
        raise Interrupted("the worker is gone; try again")

    monkeypatch.setattr(WorkerRoute, "_another", wrong)
    failed = first_violation(("kill",))
    small = shrunk(failed)
    assert small.violation
    assert len(small.schedule.faults) == 1
    assert len(small.schedule.requests) <= 1
    monkeypatch.setattr(
        "synfire.testing.simulation.__main__.random_schedule", lambda seed: random_schedule(seed, ("kill",))
    )
    assert main(["--seed", str(failed.schedule.seed)]) == 1
    told = capsys.readouterr().out
    assert f"seed {failed.schedule.seed}" in told
    assert "VIOLATION" in told
    assert "fault      kills" in told
