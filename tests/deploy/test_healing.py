"""Real workers are killed and told to leave; whoever called gets the right answer, once."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from synfire.base.errors import TemporaryError
from synfire.control.events import Adopt
from synfire.control.record import RecoveryLog
from synfire.deploy import healing
from synfire.deploy.healing import Healing
from synfire.deploy.known_answers import MOST_MISSED
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planning import plan_models
from synfire.gateway.call import Call
from synfire.graph import reference
from synfire.testing.examples import collect, currents, digits, image, stream
from synfire.worker.settings import Settings as WorkerSettings
from synfire.zoo import find, held_out_digits, picture_inputs


@pytest.fixture(autouse=True)
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def deploy(models, spares=0):
    return LocalDeployment(models, Settings(http="", spares=spares))


def kill(deployment, worker):
    os.kill(deployment.workers[worker].process.pid, signal.SIGKILL)


@pytest.mark.parametrize("spares", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_call_in_flight_outlives_its_worker(spares):
    graph, plan = stream()
    inputs = currents(1, 4_000)

    async def main():
        async with deploy({"stream": (graph, plan)}, spares) as deployment:
            await deployment.until_warm()
            route = deployment.routes["stream"]
            parts = route.answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            kill(deployment, "w1")
            got += [part async for part in parts]
            answer = np.concatenate([part.outputs["y"] for part in got])
            assert answer.tobytes() == reference.run(graph, inputs)["y"].tobytes()
            assert [part.first_step for part in got] == list(range(4_000))
            assert route.replays == 1
            await deployment.until_warm()
            assert "w1" not in deployment.workers

    asyncio.run(main())
    (record,) = RecoveryLog().recent(9)
    assert (record.worker, record.outcome, record.requests_replayed) == ("w1", "recovered", 1)
    assert [each.model for each in record.models] == ["stream"]
    assert [step.name for step in record.steps] == ["detect", "fence", "adopt", "relink", "replay", "verify"]


def test_a_worker_that_dies_while_models_are_hosted_is_started_anew(monkeypatch):
    hosting, killed = LocalDeployment._host, []

    async def dying(deployment, model, flat, plan):
        if not killed:
            killed.append(deployment.workers["w1"].process.pid)
            kill(deployment, "w1")
        await hosting(deployment, model, flat, plan)

    async def main():
        async with deploy({"digits": digits(), "stream": stream()}) as deployment:
            await deployment.until_warm()
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(3)))
            assert answer["y"][-1].tobytes() == reference.run(digits()[0], image(3))["y"].tobytes()
            assert sorted(deployment.workers) == ["w0", "w1"]
            assert deployment.workers["w1"].process.pid not in killed

    monkeypatch.setattr(LocalDeployment, "_host", dying)
    asyncio.run(main())


def test_a_deployment_whose_workers_always_die_does_not_begin(monkeypatch):
    async def dying(deployment, model, flat, plan):
        kill(deployment, "w1")
        deployment.workers.lose("w1", "process exit")
        deployment.workers.living("w1")

    async def main():
        with pytest.raises(TemporaryError, match="try again"):
            async with deploy({"digits": digits()}):
                pass

    monkeypatch.setattr(LocalDeployment, "_host", dying)
    asyncio.run(main())


@pytest.mark.slow
def test_every_worker_may_die_one_after_the_other():
    models = {"stream": stream(), "digits": digits("digits", ("w1", "w0"))}

    async def main():
        async with deploy(models, 1) as deployment:
            for round_ in range(3):
                await deployment.until_warm()
                calls = [collect(deployment.routes["digits"], Call(str(i), "digits", image(i))) for i in range(8)]
                answers = asyncio.gather(*calls)
                await asyncio.sleep(0)
                kill(deployment, deployment.routes["digits"].plan.workers[round_ % 2])
                for i, answer in enumerate(await answers):
                    assert answer["y"][-1].tobytes() == reference.run(models["digits"][0], image(i))["y"].tobytes()

    asyncio.run(main())


@pytest.mark.slow
def test_all_workers_at_once():
    graph, plan = digits()

    async def main():
        async with deploy({"digits": (graph, plan)}, 1) as deployment:
            await deployment.until_warm()
            for worker in list(deployment.workers):
                kill(deployment, worker)
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(3)))
            assert answer["y"][-1].tobytes() == reference.run(graph, image(3))["y"].tobytes()

    asyncio.run(main())


@pytest.mark.slow
def test_hanging_worker_is_noticed_killed_and_replaced():
    graph, plan = stream()
    inputs = currents(5, 4_000)

    async def main():
        async with deploy({"stream": (graph, plan)}, 1) as deployment:
            await deployment.until_warm()
            parts = deployment.routes["stream"].answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            hanging = deployment.workers["w1"].process
            os.kill(hanging.pid, signal.SIGSTOP)
            got += [part async for part in parts]
            answer = np.concatenate([part.outputs["y"] for part in got])
            assert answer.tobytes() == reference.run(graph, inputs)["y"].tobytes()
            assert await hanging.exited() == -signal.SIGKILL
            await deployment.until_warm()

    asyncio.run(main())
    (record,) = RecoveryLog().recent(9)
    assert (record.cause.kind, record.outcome) == ("hang", "recovered")
    assert 0.1 < record.steps[0].duration_s < 5


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["w0", "w1"])
def test_session_goes_on_after_its_worker_is_lost_as_if_nothing_had_been(worker):
    graph, plan = stream()
    whole = currents(6, 3 * 40)
    calls = [{"x": whole["x"][3 * i : 3 * i + 3]} for i in range(40)]

    async def main():
        async with deploy({"stream": (graph, plan)}, 1) as deployment:
            await deployment.until_warm()
            route = deployment.routes["stream"]
            got = []
            for i, inputs in enumerate(calls):
                if i in (3, 21, 22):
                    await deployment.until_warm()
                    kill(deployment, route.plan.workers[int(worker[1])])
                call = Call(str(i), "stream", inputs, "session", start=i == 0, end=i == 39)
                got.append((await collect(route, call))["y"])
            assert np.concatenate(got).tobytes() == reference.run(graph, whole)["y"].tobytes()
            assert route.restored == 3
            assert route.sessions.checkpoint_bytes > 0
            assert len(route.sessions) == 0
            described = await deployment.describe()
            assert sum(each.sessions for each in described.values()) == 0

    asyncio.run(main())
    lost = [each for each in RecoveryLog().recent(9) if each.sessions_restored]
    assert sum(each.sessions_restored for each in lost) == 3
    assert all("restore" in {step.name for step in each.steps} for each in lost)


@pytest.mark.slow
def test_worker_whose_memory_is_corrupted_is_found_out_and_replaced():
    graph, plan = digits()

    async def main():
        async with deploy({"digits": (graph, plan)}, 1) as deployment:
            await deployment.until_warm()
            await deployment.known.prove()
            assert {"w0", "w1"} <= set(deployment.workers)
            assert not deployment.known.right("digits", "s1", "w1", "another answer than the known one")
            await deployment.until_warm()
            assert "w1" not in deployment.workers
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(1)))
            assert answer["y"][-1].tobytes() == reference.run(graph, image(1))["y"].tobytes()

    asyncio.run(main())
    (record,) = RecoveryLog().recent(9)
    assert (record.cause.kind, record.outcome) == ("corruption", "recovered")
    assert "verify" in {step.name for step in record.steps}


@pytest.mark.slow
def test_busy_workers_are_tested_too(monkeypatch):
    graph, plan = digits()

    async def main():
        async with deploy({"digits": (graph, plan)}, 0) as deployment:
            peer = deployment.workers["w0"].peer
            busy, proved = msgspec.structs.replace(await peer.describe(), requests=1), []
            known = deployment.known.answers["digits", "s0", plan.engine]

            async def describe():
                return busy

            async def prove(model, stage):
                proved.append((model, stage))
                return known

            monkeypatch.setattr(peer, "describe", describe)
            monkeypatch.setattr(peer, "prove", prove)
            counts = []
            for _ in range(2 * (MOST_MISSED + 1)):
                await deployment.known.prove()
                counts.append(proved.count(("digits", "s0")))
            assert counts == [0] * MOST_MISSED + [1] * (MOST_MISSED + 1) + [2]

    asyncio.run(main())


@pytest.mark.slow
def test_worker_told_to_leave_hands_over_without_an_error():
    graph, plan = stream()
    inputs = currents(2, 2_000)

    async def main():
        async with deploy({"stream": (graph, plan)}, 1) as deployment:
            await deployment.until_warm()
            parts = deployment.routes["stream"].answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            leaving = deployment.workers["w0"].process
            leaving.terminate()
            got += [part async for part in parts]
            answer = np.concatenate([part.outputs["y"] for part in got])
            assert answer.tobytes() == reference.run(graph, inputs)["y"].tobytes()
            assert await leaving.exited() == 0

    asyncio.run(main())


def test_others_build_what_a_worker_hosts_that_is_told_to_leave_while_it_goes_on_answering(monkeypatch):
    graph, plan = stream()
    done = []
    prepare, adopt = Healing.prepare, Healing.adopt

    async def preparing(healing, action):
        done.append(("prepare", action.stage, healing._deployment.routes["stream"].ready))
        return await prepare(healing, action)

    async def adopting(healing, action):
        done.append(("adopt", action.stage, action.prepared))
        return await adopt(healing, action)

    monkeypatch.setattr(Healing, "prepare", preparing)
    monkeypatch.setitem(healing._DOING, Adopt, adopting)

    async def main():
        async with deploy({"stream": (graph, plan)}) as deployment:  # no spare: the other worker has not built it
            leaving = deployment.workers["w0"].process
            leaving.terminate()
            assert await asyncio.wait_for(leaving.exited(), WorkerSettings.drain_s / 2) == 0
            await deployment.until_warm()
            assert deployment.routes["stream"].plan.workers == ("w1",)

    asyncio.run(main())
    assert done == [("prepare", "s0", True), ("adopt", "s0", True)]


def test_a_worker_that_is_told_to_leave_does_so_though_a_caller_is_slow_to_read():
    graph, plan = stream()
    inputs = currents(3, 400)

    async def main():
        async with deploy({"stream": (graph, plan)}, 1) as deployment:
            await deployment.until_warm()
            parts = deployment.routes["stream"].answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            leaving = deployment.workers["w0"].process
            leaving.terminate()
            assert await asyncio.wait_for(leaving.exited(), WorkerSettings.drain_s / 2) == 0
            got += [part async for part in parts]
            answer = np.concatenate([part.outputs["y"] for part in got])
            assert answer.tobytes() == reference.run(graph, inputs)["y"].tobytes()

    asyncio.run(main())


def test_calls_wait_for_a_new_worker_and_hear_it_when_none_can_be_started(monkeypatch):
    graph, plan = digits("digits", ("w0", "w0"))

    async def main():
        async with deploy({"digits": (graph, plan)}) as deployment:
            await deployment.until_warm()
            monkeypatch.setattr("sys.executable", "/bin/false")
            kill(deployment, "w0")
            with pytest.raises(TemporaryError, match="cannot be served: no worker is left"):
                await collect(deployment.routes["digits"], Call("1", "digits", image(1)))
            assert not deployment.routes["digits"].ready

    asyncio.run(main())


@pytest.mark.slow
def test_a_spare_takes_over_an_emulated_chip_and_answers_the_same_bits():
    (planned,) = plan_models([find("svgg-digits")], "auto", 2, device="darwin3")
    images, labels = held_out_digits()
    inputs = {"input": np.concatenate([picture_inputs(planned.graph.inputs, each)["input"] for each in images[:20]])}

    async def main():
        async with deploy({"svgg-digits": (planned.graph, planned.plan)}, 1) as deployment:
            await deployment.until_warm()
            route = deployment.routes["svgg-digits"]
            (chip,) = (stage.worker for stage in route.plan.stages if stage.engine == "darwin3")
            before = await collect(route, Call("1", "svgg-digits", inputs))
            answering = asyncio.ensure_future(collect(route, Call("2", "svgg-digits", inputs)))
            await asyncio.sleep(0)
            kill(deployment, chip)
            after = await answering
            assert after["output"].tobytes() == before["output"].tobytes()
            assert (after["output"][-1].argmax(-1) == labels[:20]).mean() >= 0.95

    asyncio.run(main())


@pytest.mark.slow
def test_removed_model_is_not_recovered():
    models = {"stream": stream(), "digits": digits()}

    async def main():
        async with deploy(models, 1) as deployment:
            await deployment.until_warm()
            await deployment.remove("stream")
            kill(deployment, "w0")
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(1)))
            assert answer["y"][-1].tobytes() == reference.run(models["digits"][0], image(1))["y"].tobytes()

    asyncio.run(main())
