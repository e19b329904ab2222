"""Planned moves of real workers, and models that have to go: whoever calls gets the right answer, or is told why not."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from synfire.base.errors import TemporaryError, UnknownName
from synfire.control.record import RecoveryLog
from synfire.deploy.local import LocalDeployment, Settings
from synfire.gateway.call import Call
from synfire.graph import reference
from synfire.testing.examples import collect, currents, digits, image, stream


@pytest.fixture(autouse=True)
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def deploy(models, **settings):
    return LocalDeployment(models, Settings(http="", **settings))


def sized(model, size):
    """The model with stages that take so much of their workers' memory."""
    graph, plan = model
    stages = tuple(msgspec.structs.replace(stage, memory_bytes=size) for stage in plan.stages)
    return graph, msgspec.structs.replace(plan, stages=stages)


async def moved_while_called(deployment, move):
    """What `move` gives while a long call and a session go on, whose answers must be right."""
    graph, _ = stream()
    inputs, whole = currents(1, 3_000), currents(6, 3 * 30)
    await deployment.until_warm()
    route = deployment.routes["stream"]
    parts = route.answer(Call("1", "stream", inputs))
    got = [await anext(parts)]
    spoken = []

    async def talk():
        for i in range(30):
            call = Call(f"s{i}", "stream", {"x": whole["x"][3 * i : 3 * i + 3]}, "session", start=i == 0, end=i == 29)
            spoken.append((await collect(route, call))["y"])

    talking = asyncio.ensure_future(talk())
    done = await move()
    got += [part async for part in parts]
    await talking
    assert np.concatenate([p.outputs["y"] for p in got]).tobytes() == reference.run(graph, inputs)["y"].tobytes()
    assert np.concatenate(spoken).tobytes() == reference.run(graph, whole)["y"].tobytes()
    return done


@pytest.mark.slow
@pytest.mark.parametrize("spares", [0, 1])
def test_drained_worker_hands_over_and_ends(spares):
    async def main():
        async with deploy({"stream": stream()}, spares=spares) as deployment:
            leaving = deployment.workers["w1"].process
            done = await moved_while_called(deployment, lambda: deployment.drain("w1"))
            assert await leaving.exited() == 0
            assert done.retired == ("w1",)
            assert {(each.source, each.target) for each in done.moved} == {("w1", "spare-0" if spares else "w0")}
            assert "w1" not in deployment.workers
            await deployment.until_warm()

    asyncio.run(main())
    (record,) = RecoveryLog().recent(9)
    assert (record.cause.kind, record.outcome, record.worker) == ("drain", "moved", "w1")
    assert {each.stage for each in record.moved} == {each.stage for each in record.moved if each.source == "w1"}
    assert "detect" not in {step.name for step in record.steps}


@pytest.mark.slow
def test_upgrade_replaces_every_worker():
    async def main():
        async with deploy({"stream": stream()}, spares=1) as deployment:
            await deployment.until_warm()
            before = dict(deployment.workers)
            done = await moved_while_called(deployment, deployment.upgrade)
            assert set(done.retired) == set(before)
            assert not set(deployment.workers) & set(before)
            assert [await each.process.exited() for each in before.values()] == [0, 0, 0]
            await deployment.until_warm()
            assert len(deployment.workers) == 3

    asyncio.run(main())
    assert {record.cause.kind for record in RecoveryLog().recent(9)} == {"upgrade"}


@pytest.mark.slow
def test_rebalance_spreads_what_has_fallen_together():
    async def main():
        async with deploy({"stream": stream()}) as deployment:
            await deployment.until_warm()
            os.kill(deployment.workers["w1"].process.pid, signal.SIGKILL)
            route = deployment.routes["stream"]
            await collect(route, Call("1", "stream", currents(1, 4)))
            await deployment.until_warm()
            assert set(route.plan.workers) == {"w0"}
            done = await moved_while_called(deployment, deployment.rebalance)
            assert [(each.source, each.target) for each in done.moved] == [("w0", "spare-0")]
            assert len(set(route.plan.workers)) == 2
            described = await deployment.describe()
            assert [len(each.stages) for each in described.values()] == [1, 1]

    asyncio.run(main())


@pytest.mark.slow
def test_a_worker_that_is_not_there_cannot_be_drained():
    async def main():
        async with deploy({"stream": stream()}) as deployment:
            with pytest.raises(UnknownName, match="known: w0, w1"):
                await deployment.drain("w9")
            assert set(deployment.workers) == {"w0", "w1"}

    asyncio.run(main())


@pytest.mark.slow
def test_a_drain_without_room_changes_nothing():
    async def main():
        async with deploy({"stream": sized(stream(), 10)}, memory_bytes=10, most_workers=2) as deployment:
            await deployment.until_warm()
            with pytest.raises(TemporaryError, match="worker w1 cannot be drained: no other worker can host stream"):
                await deployment.drain("w1")
            assert set(deployment.routes["stream"].plan.workers) == {"w0", "w1"}
            assert deployment.routes["stream"].epoch == 0
            assert not any(each.leaving for each in deployment._healing.controller.state.workers.values())

    asyncio.run(main())


@pytest.mark.slow
def test_the_less_important_model_goes_and_comes_back():
    models = {
        "stream": sized(stream(), 10),
        "digits": sized(digits("digits", ("w2", "w3")), 10),
    }
    settings = {"memory_bytes": 10, "most_workers": 4, "priorities": {"stream": 5}, "prove_s": 0.3}

    async def main():
        async with deploy(models, **settings) as deployment:
            await deployment.until_warm()
            state = deployment._healing.controller
            with pytest.MonkeyPatch.context() as nothing_starts:
                nothing_starts.setattr("sys.executable", "/bin/false")
                os.kill(deployment.workers["w1"].process.pid, signal.SIGKILL)
                await state.until(lambda state: state.models["digits"].told)
                error = "digits' cannot be served: it is stopped to make room for model 'stream', whose priority 5"
                with pytest.raises(TemporaryError, match=error) as told:
                    await collect(deployment.routes["digits"], Call("1", "digits", image(1)))
                assert told.value.retry_after_s > 1
                assert deployment.routes["stream"].ready
                assert "priority 5" in str(deployment.routes["digits"].failure)
                graph, _ = models["stream"]
                answer = await collect(deployment.routes["stream"], Call("2", "stream", currents(3, 9)))
                assert answer["y"].tobytes() == reference.run(graph, currents(3, 9))["y"].tobytes()
            await state.until(lambda state: state.warm and not state.models["digits"].failure)
            answer = await collect(deployment.routes["digits"], Call("3", "digits", image(1)))
            assert answer["y"][-1].tobytes() == reference.run(models["digits"][0], image(1))["y"].tobytes()

    asyncio.run(main())
    lost, back = RecoveryLog().recent(9)
    assert (lost.cause.target, lost.outcome) == ("w1", "degraded")
    assert {each.model for each in lost.models} == {"stream", "digits"}
    assert "digits: it is stopped to make room for model 'stream'" in lost.reason
    assert (back.cause.kind, back.outcome) == ("return", "recovered")
    assert [each.model for each in back.models] == ["digits"]
