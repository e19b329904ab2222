"""Known-answer tests go on whatever fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace

from synfire.base.errors import Interrupted, UnknownName
from synfire.deploy.known_answers import FLIPS_WITHIN_S, KnownAnswers
from synfire.plan.plan import Plan, Stage
from synfire.plan.replicas import replicated


def served_by(failure=None):
    """Tests of two stages on one worker, of which the first fails so; and what was asked of that worker."""
    asked = []

    async def describe():
        return SimpleNamespace(requests=0)

    async def prove(model, stage):
        asked.append(stage)
        if stage == "s0" and failure is not None:
            raise failure
        return "right"

    worker = SimpleNamespace(peer=SimpleNamespace(describe=describe, prove=prove))
    stages = tuple(Stage(name=name, operators=(name,), worker="w0") for name in ("s0", "s1"))
    plan = Plan(model="m", granularity="operator", stages=stages, links=(), frame_steps=1, engine="cpu")
    return KnownAnswers({"w0": worker}, lambda: [plan]), asked


def test_a_stage_that_moves_while_it_is_tested_leaves_the_others_to_be_tested():
    for failure in (UnknownName("gone"), Interrupted("gone")):
        known, asked = served_by(failure)
        asyncio.run(known.prove())
        assert asked == ["s0", "s1"]
        assert set(known.answers) == {("m", "s1", "cpu")}


def test_a_test_that_breaks_is_logged_and_the_next_ones_come(caplog):
    known, asked = served_by(RuntimeError("a bug"))

    async def main():
        turns = []
        with suppress(asyncio.CancelledError):
            await known.now_and_then(0.0, lambda: turns.append(len(asked)))

    async def twice():
        task = asyncio.create_task(main())
        while len(asked) < 2:
            await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(twice())
    assert asked[:2] == ["s0", "s0"]
    assert "known-answer tests have failed themselves" in caplog.text


def test_a_worker_of_which_states_are_wrong_again_and_again_is_lost():
    lost, now_s = [], [0.0]
    known = KnownAnswers(SimpleNamespace(lose=lambda worker, cause: lost.append((worker, cause))), list)
    known._now_s = lambda: now_s[0]
    for at_s, worker in ((0.0, "w0"), (1.0, "w1"), (30.0, "w0"), (FLIPS_WITHIN_S + 0.1, "w0")):
        now_s[0] = at_s
        known.flipped(worker, 3)
    assert not lost  # the first one of w0 is too long ago
    known.flipped("w0", 3)
    assert lost == [("w0", "corruption")]
    known.flipped("w0", 3)
    assert len(lost) == 1


def test_a_replica_that_answers_otherwise_than_the_others_is_lost():
    stage = Stage(name="s0", operators=("s0",), worker="w0")
    plan = Plan(model="m", granularity="operator", stages=(stage,), links=(), frame_steps=1, engine="cpu")
    lost = []
    workers = SimpleNamespace(lose=lambda worker, cause: lost.append((worker, cause)))
    known = KnownAnswers(workers, lambda: [replicated(plan, {"s0": ("w0", "w1", "w2")})])
    assert known.right("m", "s0", "w0", "right")
    assert known.right("m", "s0#2", "w1", "right")
    assert not known.right("m", "s0#3", "w2", "wrong")
    assert lost == [("w2", "corruption")]
