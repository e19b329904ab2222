"""A fused stage of real workers is split under load: no call is lost, sessions go on with the same bits."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from synfire.control.record import RecoveryLog
from synfire.deploy.local import LocalDeployment, Settings
from synfire.gateway.call import Call
from synfire.graph import reference
from synfire.plan.parts import fuse
from synfire.testing.examples import collect, currents, digits, image, stream

SESSION, BEFORE = 60, 24
"""Calls of a session, and how many of them before the split: more than it takes to a checkpoint."""


@pytest.fixture(autouse=True)
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def models(size=0):
    """`stream` as one stage on w0, of two heavy parts, and on w1 a model that is next to nothing."""
    graph, plan = stream(("w0", "w0"))
    stages = tuple(msgspec.structs.replace(each, busy_s=5e-3, memory_bytes=size) for each in plan.stages)
    small, other = digits("digits", ("w1", "w1"))
    beside = tuple(msgspec.structs.replace(each, busy_s=1e-5, memory_bytes=size) for each in other.stages)
    return {
        "stream": (graph, fuse(msgspec.structs.replace(plan, stages=stages, engine="cpu"))),
        "digits": (small, msgspec.structs.replace(other, stages=beside, engine="cpu")),
    }


def placed(deployment):
    return [(stage.name, stage.worker) for stage in deployment.routes["stream"].plan.stages]


class Talk:
    """A session with `stream`, call by call."""

    def __init__(self, deployment):
        self._route, self._whole, self._said = deployment.routes["stream"], currents(6, 3 * SESSION), []

    async def go_on(self, until):
        for n in range(len(self._said), until):
            given = {"x": self._whole["x"][3 * n : 3 * n + 3]}
            call = Call(f"s{n}", "stream", given, "session", start=n == 0, end=n == SESSION - 1)
            self._said.append((await collect(self._route, call))["y"])

    def check(self):
        wanted = reference.run(stream()[0], {"x": self._whole["x"][: 3 * len(self._said)]})["y"]
        assert np.concatenate(self._said).tobytes() == wanted.tobytes()


async def load(deployment, stop):
    """Calls of both models until it stops; how many were answered, all rightly."""
    whole = {
        "stream": reference.run(stream()[0], currents(3, 9))["y"],
        "digits": reference.run(digits()[0], image(3))["y"],
    }
    given, answered = {"stream": currents(3, 9), "digits": image(3)}, 0
    while not stop.is_set():
        for name, inputs in given.items():
            got = (await collect(deployment.routes[name], Call(f"{name}-{answered}", name, inputs)))["y"]
            last = got if name == "stream" else got[-1]  # `digits` answers step by step, and the last one counts
            assert last.tobytes() == whole[name].tobytes()
            answered += 1
    return answered


@pytest.mark.slow
def test_a_rebalance_splits_a_fused_stage_under_load():
    async def main():
        async with LocalDeployment(models(), Settings(http="")) as deployment:
            await deployment.until_warm()
            assert placed(deployment) == [("l1..n2", "w0")]
            talk, stop = Talk(deployment), asyncio.Event()
            await talk.go_on(BEFORE)
            loading = asyncio.ensure_future(load(deployment, stop))
            done = await deployment.rebalance()
            assert sorted(worker for _, worker in placed(deployment)) == ["w0", "w1"]
            assert [(each.source, each.target) for each in done.moved] == [("w0", "w1")]
            await talk.go_on(SESSION // 2)
            assert deployment.routes["stream"]._parts  # the session went on from its checkpoint
            os.kill(deployment.workers["w1"].process.pid, signal.SIGKILL)
            await talk.go_on(SESSION)
            stop.set()
            assert await loading > 0
            talk.check()
            held = await deployment.describe()
            assert not [each for said in held.values() for each in said.stages if each.stage == "l1..n2"]

    asyncio.run(main())
    split, lost = RecoveryLog().recent(9)
    assert (split.cause.kind, split.outcome) == ("rebalance", "moved")
    assert [each.stage for each in split.moved] == ["s0 of l1..n2"]
    assert lost.worker == "w1"


@pytest.mark.slow
def test_a_stage_that_no_worker_has_room_for_goes_on_in_parts_when_its_worker_dies():
    async def main():
        given = models(size=10)
        graph, plan = given.pop("digits")
        third = digits("third", ("w2", "w2"))
        beside = tuple(msgspec.structs.replace(each, memory_bytes=10) for each in third[1].stages)
        others = {"third": (third[0], msgspec.structs.replace(third[1], stages=beside, engine="cpu"))}
        settings = Settings(http="", memory_bytes=30, most_workers=3)
        async with LocalDeployment(given | {"digits": (graph, plan)} | others, settings) as deployment:
            await deployment.until_warm()
            talk = Talk(deployment)
            await talk.go_on(BEFORE)
            with pytest.MonkeyPatch.context() as nothing_starts:
                nothing_starts.setattr("sys.executable", "/bin/false")
                os.kill(deployment.workers["w0"].process.pid, signal.SIGKILL)
                await talk.go_on(SESSION)
            talk.check()
            assert sorted(worker for _, worker in placed(deployment)) == ["w1", "w2"]

    asyncio.run(main())
