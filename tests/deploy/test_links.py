"""Links of running workers are cut, dropped and slowed; whoever called gets the right answer, once."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.base.processes import born
from synfire.control.record import RecoveryLog
from synfire.deploy import network
from synfire.deploy.faults import Options, Process, Scene, inject
from synfire.deploy.local import LocalDeployment, Settings
from synfire.gateway.blame import UNREACHABLE_S
from synfire.gateway.call import Call
from synfire.graph import reference
from synfire.testing.examples import collect, currents, stream

rooted = pytest.mark.skipif(bool(network.impossible()), reason=network.impossible())


@pytest.fixture(autouse=True)
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def scene_of(deployment):
    workers = {
        name: Process(name, each.process.pid, born(each.process.pid)) for name, each in deployment.workers.items()
    }
    addresses = {name: each.address for name, each in deployment.workers.items()}
    return Scene(workers, {}, deployment.id, addresses)


async def injected(deployment, kind, target, **options):
    acts = []
    await asyncio.to_thread(inject, kind, target, scene_of(deployment), Options(**options), acts.append)
    return acts


def host_of_w1(deployment):
    return deployment.hosts.group("w1")


def answered(kind, target, steps=400, spares=0, hosts=0, then=lambda deployment: None, **options):
    """The recoveries' causes after a fault in the middle of a call that is answered right; how often it was sent again; and
    how long it took from the fault on."""
    graph, plan = stream()
    inputs = currents(1, steps)
    seen = {}

    async def main():
        async with LocalDeployment(
            {"stream": (graph, plan)}, Settings(http="", spares=spares, hosts=hosts)
        ) as deployment:
            await deployment.until_warm()
            route = deployment.routes["stream"]
            parts = route.answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            await injected(deployment, kind, target(deployment) if callable(target) else target, **options)
            began_s = time.monotonic()
            got += [part async for part in parts]
            seen["took_s"] = time.monotonic() - began_s
            answer = np.concatenate([part.outputs["y"] for part in got])
            assert answer.tobytes() == reference.run(graph, inputs)["y"].tobytes()
            assert [part.first_step for part in got] == list(range(steps))
            seen["replays"] = route.replays
            result = then(deployment)
            if asyncio.iscoroutine(result):
                await result
            await deployment.until_warm()
            again = await collect(route, Call("2", "stream", inputs))
            assert again["y"].tobytes() == answer.tobytes()

    asyncio.run(main())
    return [record.cause.kind for record in RecoveryLog().recent(9)], seen["replays"], seen["took_s"]


@pytest.mark.slow
def test_call_outlives_a_dropped_link_between_workers_that_live():
    causes, replays, _ = answered("link-drop", "w0:w1")
    assert (causes, replays) == ([], 1)


@pytest.mark.slow
def test_stages_of_a_worker_that_another_cannot_reach_for_long_go_to_one_that_it_can():
    def stayed(deployment):
        assert set(deployment.workers) == {"w0", "w1", "spare-0"}
        assert [stage.worker for stage in deployment.routes["stream"].plan.stages] == ["w0", "spare-0"]

    causes, replays, took_s = answered("link-drop", "w0:w1", spares=1, for_s=60.0, then=stayed)
    assert causes == ["severed link"]
    assert replays > 1
    assert took_s >= UNREACHABLE_S


@pytest.mark.slow
def test_a_worker_whose_link_to_the_gateway_is_dropped_is_replaced():
    causes, replays, _ = answered("link-drop", "w1:gateway", spares=1)
    assert (causes, replays) == (["broken link"], 1)


@pytest.mark.slow
def test_frames_along_a_slow_link_are_late_and_right():
    causes, replays, took_s = answered("link-delay", "w0:w1", steps=40, for_s=30.0, delay_s=0.1)
    assert (causes, replays) == ([], 0)
    assert took_s >= 0.1


@pytest.mark.slow
@rooted
def test_workers_of_a_host_that_is_cut_off_live_on_and_leave_when_they_are_back_and_others_have_their_work(home):
    async def mended(deployment):
        (away,) = deployment.workers.away
        process = away.process
        assert process.running  # nobody can be killed on another host
        assert "w1" not in deployment.workers
        await deployment.until_warm()  # another spare is there
        await injected(deployment, "link-partition", "host-1")
        await asyncio.wait_for(deployment.workers.until_all_back(), 30)
        assert await asyncio.wait_for(process.exited(), 60) == 0
        assert "w1" not in deployment.workers

    causes, replays, _ = answered("link-partition", host_of_w1, spares=1, hosts=3, steps=1000, then=mended)
    assert (causes, replays) == (["host lost"], 1)
    (record,) = RecoveryLog().recent(9)
    assert (str(record.cause), record.cause.detail) == ("host lost: host-1", "w1 was on it")


@pytest.mark.slow
@rooted
def test_a_worker_that_hangs_when_its_host_is_back_is_ended(monkeypatch):
    async def hung(deployment):
        (away,) = deployment.workers.away
        away.process.signal(signal.SIGSTOP)
        monkeypatch.setattr("synfire.deploy.hosts.REACH_S", 0.02)
        await injected(deployment, "link-partition", "host-1")
        await asyncio.wait_for(deployment.workers.until_all_back(), 30)
        assert await asyncio.wait_for(away.process.exited(), 30) == -signal.SIGKILL

    causes, _, _ = answered("link-partition", host_of_w1, spares=1, hosts=3, steps=1000, then=hung)
    assert causes == ["host lost"]


@pytest.mark.slow
@pytest.mark.skipif(bool(network.impossible()), reason=network.impossible())
def test_workers_that_are_killed_with_all_others_of_their_host_are_on_record_as_a_lost_host():
    _, replays, _ = answered("host-lost", "w0,w1", spares=2, hosts=2, steps=1000)
    lost = {(record.worker, str(record.cause)) for record in RecoveryLog().recent(9)}
    assert lost == {("w0", "host lost: host-0"), ("w1", "host lost: host-0")}
    assert replays >= 1


@pytest.mark.slow
@rooted
@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_that_do_not_reach_each_other_are_noticed_by_what_is_sent_between_them(hosts):
    """The gateway and the controller reach both. With two hosts there is no third: all goes to one of them."""

    def along(deployment):
        return [deployment.hosts.group(stage.worker) for stage in deployment.routes["stream"].plan.stages]

    def severed(deployment):
        assert along(deployment) in ([["host-0", "host-2"]] if hosts == 3 else [["host-0"] * 2, ["host-1"] * 2])
        assert all(worker.process.running for worker in deployment.workers.values())
        assert not deployment.workers.away

    causes, replays, took_s = answered(
        "link-partition", "host-0:host-1", spares=hosts - 2, hosts=hosts, steps=1000, then=severed
    )
    assert causes == ["severed link"]
    assert replays >= 1
    assert took_s < 15.0  # four on a busy machine; nobody else would notice it


@pytest.mark.slow
def test_links_that_are_none_are_refused():
    async def main():
        async with LocalDeployment({"stream": stream()}, Settings(http="")) as deployment:
            for target, error, words in (
                ("w0:w9", UnknownName, "running worker named 'w9'; known: w0, w1"),
                ("w9:w0", UnknownName, "running worker named 'w9'; known: w0, w1"),
                ("w0", UserError, "write FROM:TO"),
                ("w0:w0", UserError, "write FROM:TO"),
                ("w1:w0", UnknownName, "no open connection of worker w1 named .*; known: gateway"),
            ):
                with pytest.raises(error, match=words):
                    await injected(deployment, "link-drop", target)

    asyncio.run(main())
