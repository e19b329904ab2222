"""Emulated chips break under real workers; whoever called gets the answer of the undisturbed chip, or is told what is different."""

from __future__ import annotations

import asyncio
import math
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from synfire.base.errors import Interrupted, TemporaryError, UnknownName, UserError
from synfire.base.processes import born
from synfire.control.condition import condition
from synfire.control.record import RecoveryLog
from synfire.deploy.faults import Act, Options, Process, Scene, inject
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planning import plan_models
from synfire.devices import DEVICES
from synfire.devices.darwin3.allotted import CORES, KEPS
from synfire.engines import ENGINES
from synfire.gateway.call import Call
from synfire.gateway.peer import WorkerPeer
from synfire.gateway.protection import EVERY_CALLS
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan.plan import stage_graph
from synfire.testing.examples import collect, currents, stream
from synfire.wire.messages import StageLost
from synfire.zoo import find

STEPS = 60


@pytest.fixture(autouse=True)
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def chipped():
    """Two stages on the step clock, the second on a chip, which is w1's."""
    graph, plan = stream(size=16)
    first, second = plan.stages
    plan = msgspec.structs.replace(plan, stages=(first, msgspec.structs.replace(second, engine="darwin3")))
    return simplify(flatten(graph)), plan


def deploy(spares=0):
    return LocalDeployment({"stream": chipped()}, Settings(http="", spares=spares))


def scene(deployment):
    processes = {
        name: Process(name, each.process.pid, born(each.process.pid)) for name, each in deployment.workers.items()
    }
    addresses = {name: each.address for name, each in deployment.workers.items()}
    return Scene(processes, {}, deployment.id, addresses)


async def break_(deployment, kind, target="", **options) -> Act:
    acts: list[Act] = []
    await asyncio.to_thread(inject, kind, target, scene(deployment), Options(**options), acts.append)
    (act,) = acts
    return act


def sound(inputs):
    """What the model gives, its second stage on an undisturbed chip."""
    graph, plan = chipped()
    found = dict(inputs)
    for stage in plan.stages:
        part = stage_graph(graph, stage.operators)
        program = ENGINES[plan.engine_of(stage)]().build(part)
        given = {name: found[name] for name in part.inputs}
        found |= program.run(program.initial_state(1), given, len(inputs["x"]))[1]
    return found["n2"].tobytes()


def only_record():
    (record,) = RecoveryLog().recent(9)
    return record


@pytest.mark.slow
def test_a_call_in_flight_outlives_a_core_and_the_record_tells_what_was_done():
    inputs = currents(1, STEPS, 16)

    async def main():
        async with deploy() as deployment:
            await deployment.until_warm()
            route = deployment.routes["stream"]
            parts = route.answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            act = await break_(deployment, "core-dead", "w1", seed=3)
            assert act.target == "w1/stream.s1"
            got += [part async for part in parts]
            assert np.concatenate([part.outputs["y"] for part in got]).tobytes() == sound(inputs)
            assert (route.replays, route.epoch) == (0, 0)
            await deployment.until_warm()
            assert set(deployment.workers) == {"w0", "w1"}
            assert deployment.recoveries.counts == {("core dead", "recovered"): 1}

    asyncio.run(main())
    record = only_record()
    assert (record.cause.kind, record.worker, record.outcome) == ("core dead", "w1", "recovered")
    assert record.cause.target.startswith("core ")
    assert record.cause.target.endswith(" of stream.s1")
    assert "n2#0 moved from" in record.cause.detail
    assert record.bytes_moved > 0
    assert [(each.epoch_before, each.epoch_after) for each in record.models] == [(0, 0)]
    steps = [step.name for step in record.steps]
    assert [step for step in steps if step != "replay"] == ["detect", "adopt", "relink", "verify"]
    assert record.requests_replayed == ("replay" in steps)


@pytest.mark.slow
def test_idle_chips_are_mended_before_anybody_asks():
    async def main():
        async with deploy() as deployment:
            await deployment.until_warm()
            for seed, kind in enumerate(("core-dead", "mesh-link-dead", "membrane-bit")):
                inputs = currents(seed, 8, 16)
                await break_(deployment, kind)
                await deployment.known.prove()
                answer = await collect(deployment.routes["stream"], Call(kind, "stream", inputs))
                assert answer["y"].tobytes() == sound(inputs)
            assert set(deployment.workers) == {"w0", "w1"}

    asyncio.run(main())


@pytest.mark.slow
def test_a_wrong_weight_is_found_by_the_known_answer_and_written_again():
    inputs = currents(3, 8, 16)

    async def main():
        async with deploy() as deployment:
            await deployment.until_warm()
            await break_(deployment, "weight-bit", "w1/stream.s1", seed=1)
            await deployment.known.prove()
            answer = await collect(deployment.routes["stream"], Call("1", "stream", inputs))
            assert answer["y"].tobytes() == sound(inputs)
            await deployment.until_warm()
            assert set(deployment.workers) == {"w0", "w1"}

    asyncio.run(main())
    record = only_record()
    assert (record.cause.kind, record.outcome, record.requests_replayed) == ("corruption", "recovered", 0)
    assert "written again" in record.cause.detail


@pytest.mark.slow
def test_a_spare_with_a_chip_takes_over_from_a_dead_one_bit_by_bit():
    inputs = currents(4, STEPS, 16)

    async def main():
        async with deploy(spares=1) as deployment:
            await deployment.until_warm()
            route = deployment.routes["stream"]
            parts = route.answer(Call("1", "stream", inputs))
            got = [await anext(parts)]
            await break_(deployment, "chip-dead", "w1")
            got += [part async for part in parts]
            assert np.concatenate([part.outputs["y"] for part in got]).tobytes() == sound(inputs)
            (_, stage) = route.plan.stages
            assert (stage.worker, stage.engine) == ("spare-0", "darwin3")
            await deployment.until_warm()

    asyncio.run(main())
    record = only_record()
    assert (record.cause.kind, record.worker, record.spare) == ("chip dead", "w1", "spare-0")
    assert (record.outcome, record.cause.detail) == ("recovered", "the chip answers nothing any more")


@pytest.mark.slow
def test_without_another_chip_the_processor_takes_over_and_the_record_says_how_far_they_agree():
    inputs = currents(5, STEPS, 16)

    async def main():
        async with deploy() as deployment:
            await deployment.until_warm()
            route = deployment.routes["stream"]
            await break_(deployment, "chip-dead")
            answer = await collect(route, Call("1", "stream", inputs))
            assert (answer["y"] != 0).any()
            (_, stage) = route.plan.stages
            assert route.plan.engine_of(stage) == "cpu"
            await deployment.known.prove()  # the processor's answer is another than the chip's, and right
            await deployment.until_warm()
            assert "w1" in deployment.workers
            with pytest.raises(UnknownName, match="worker w1 runs no stage on an emulated device"):
                await break_(deployment, "core-dead", "w1")
            with pytest.raises(UserError, match="serve with --device darwin3"):
                await break_(deployment, "core-dead")

    asyncio.run(main())
    record = only_record()
    assert (record.cause.kind, record.outcome) == ("chip dead", "degraded")
    (unlike,) = record.substituted
    assert (unlike.stage, unlike.planned, unlike.engine) == ("s1", "darwin3", "cpu")
    assert unlike.agreement is not None
    assert 0.5 < unlike.agreement <= 1
    assert f"agree to {100 * unlike.agreement:.4g} %" in record.reason


@pytest.mark.slow
@pytest.mark.parametrize("spares", [0, 1])
def test_a_model_that_was_unloaded_while_its_chip_died_is_loaded_on_another_one_or_on_a_processor(spares):
    inputs = currents(6, STEPS, 16)
    graph, plan = chipped()
    neighbour = msgspec.structs.replace(plan, model="neighbour")

    async def main():
        models = {"stream": (graph, plan), "neighbour": (graph, neighbour)}
        async with LocalDeployment(models, Settings(http="", spares=spares)) as deployment:
            await deployment.until_warm()
            await deployment.remove("stream")
            await break_(deployment, "chip-dead", "w1")
            await collect(deployment.routes["neighbour"], Call("1", "neighbour", inputs))
            await deployment.until_warm()
            await deployment.add("stream", graph, plan)
            route = deployment.routes["stream"]
            (_, stage) = route.plan.stages
            answer = await collect(route, Call("2", "stream", inputs))
            standing = condition(deployment.healing.controller.state.models["stream"], {})
            if spares:
                assert (stage.worker, stage.engine) == ("spare-0", "darwin3")
                assert answer["y"].tobytes() == sound(inputs)
                assert standing.status == "served"
            else:
                assert route.plan.engine_of(stage) == "cpu"
                assert (answer["y"] != 0).any()
                assert standing.status == "degraded"

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("spares", [0, 1])
def test_a_session_goes_on_bit_by_bit_on_another_chip_and_is_told_where_there_is_none(spares):
    late = EVERY_CALLS + 2  # after a checkpoint
    whole = currents(6, 3 * (late + 2), 16)
    calls = [{"x": whole["x"][3 * i : 3 * i + 3]} for i in range(late + 2)]

    async def main():
        async with deploy(spares) as deployment:
            await deployment.until_warm()
            route, got = deployment.routes["stream"], []
            for i, inputs in enumerate(calls):
                if i == 3:
                    await break_(deployment, "core-dead", seed=5)
                if i == late:
                    await break_(deployment, "chip-dead")
                call = Call(str(i), "stream", inputs, "session", start=i == 0, end=i == late + 1)
                if i >= late and not spares:
                    with pytest.raises(TemporaryError, match=r"session .* cannot go on"):
                        await collect(route, call)
                    break
                got.append((await collect(route, call))["y"])
            assert np.concatenate(got).tobytes() == sound({"x": whole["x"][: 3 * len(got)]})
            assert len(got) == (late + 2 if spares else late)

    asyncio.run(main())


@pytest.mark.slow
def test_who_connects_later_is_told_of_a_lost_device_too():
    async def main():
        settings = Settings(http="", heal=False)
        async with LocalDeployment({"stream": chipped()}, settings) as deployment:
            await break_(deployment, "chip-dead", "w1")
            with pytest.raises(Interrupted, match=r"the device under stage stream\.s1 is lost"):
                await collect(deployment.routes["stream"], Call("1", "stream", currents(8, 4, 16)))
            peer = await WorkerPeer.reach("w1", deployment.workers["w1"].address, deployment.id, "another")
            await peer.ping()
            told = []
            peer.on_report(told.append)
            assert [(type(each), each.stage, each.cause) for each in told] == [(StageLost, "s1", "chip dead")]
            peer.close()

    asyncio.run(main())


UNKNOWN = [
    ("core-dead", "w7", "no running worker named 'w7'; known: w0, w1"),
    ("core-dead", "w0", "worker w0 runs no stage on an emulated device"),
    ("core-dead", "w1/stream.s9", "named 'stream.s9'; known: stream.s1"),
    ("core-dead", "w1:99,0", "its mesh is 24 × 24"),
    ("core-dead", "w1/:3", "is no target on a chip; write WORKER"),
    ("weight-bit", "w1:3,4@70000.1", "has 8192 words of 48 bits, no bit 1 of word 70000"),
]


@pytest.mark.slow
def test_a_fault_on_what_is_not_there_says_what_is_and_changes_nothing():
    inputs = currents(7, 8, 16)

    async def main():
        async with deploy() as deployment:
            await deployment.until_warm()
            for kind, target, message in UNKNOWN:
                with pytest.raises(UserError, match=message):
                    await break_(deployment, kind, target)
            answer = await collect(deployment.routes["stream"], Call("1", "stream", inputs))
            assert answer["y"].tobytes() == sound(inputs)

    asyncio.run(main())
    assert RecoveryLog().recent(9) == ()


def counted(name=""):
    """The model whose plan tells what its second stage takes of a chip."""
    graph, plan = chipped()
    first, second = plan.stages
    second = msgspec.structs.replace(second, cores=DEVICES["darwin3"].cores(stage_graph(graph, second.operators)))
    return graph, msgspec.structs.replace(plan, model=name or plan.model, stages=(first, second))


@pytest.mark.slow
def test_a_chip_whose_cores_are_taken_gets_no_other_stage_until_they_are_free(monkeypatch):
    graph, plan = counted()
    need = plan.stages[1].cores
    monkeypatch.setenv(CORES, str(2 * need.total - 1))

    async def main():
        async with LocalDeployment({"stream": (graph, plan)}, Settings(http="")) as deployment:
            hands = {each.name: each for each in deployment.recoveries.workers}
            assert (hands["w0"].cores, hands["w0"].free_cores) == (None, None)
            assert (hands["w1"].cores.total, hands["w1"].free_cores.total) == (2 * need.total - 1, need.total - 1)
            await deployment.add("other", *counted("other"))
            view = deployment.healing.controller.state.models["other"]
            assert view.substituted == {"s1": "darwin3"}
            await deployment.remove("stream")
            await deployment.rebalance()
            view = deployment.healing.controller.state.models["other"]
            assert ([each.worker for each in view.plan.stages][1], view.substituted) == ("w1", {})
            answer = await collect(deployment.routes["other"], Call("1", "other", currents(2, 8, 16)))
            assert answer["y"].tobytes() == sound(currents(2, 8, 16))

    asyncio.run(main())


@pytest.mark.slow
def test_a_chip_whose_events_are_taken_gets_no_other_stage_until_they_are_free(monkeypatch):
    graph, plan = counted()
    density = dict.fromkeys(graph.signals(), 0.5)
    second = plan.stages[1]
    events = DEVICES["darwin3"].events(stage_graph(graph, second.operators), density) * plan.frame_steps
    second = msgspec.structs.replace(second, events=events)
    plan = msgspec.structs.replace(plan, rate=1e6, stages=(plan.stages[0], second))
    keps = plan.need(second).keps
    assert keps > 1
    monkeypatch.setenv(KEPS, str(2 * keps - 1))

    def free(deployment):
        return {each.name: each.free_cores and each.free_cores.keps for each in deployment.recoveries.workers}

    async def main():
        async with LocalDeployment({"stream": (graph, plan)}, Settings(http="")) as deployment:
            assert free(deployment) == {"w0": None, "w1": keps - 1}
            await deployment.add("idle", graph, msgspec.structs.replace(plan, model="idle", rate=0.0))
            assert free(deployment) == {"w0": None, "w1": keps - 1}
            assert not deployment.healing.controller.state.models["idle"].substituted
            await deployment.add("other", graph, msgspec.structs.replace(plan, model="other"))
            assert deployment.healing.controller.state.models["other"].substituted == {"s1": "darwin3"}
            await deployment.remove("stream")
            await deployment.rebalance()
            view = deployment.healing.controller.state.models["other"]
            assert ([each.worker for each in view.plan.stages][1], view.substituted) == ("w1", {})
            assert free(deployment) == {"w0": None, "w1": keps - 1}
            answer = await collect(deployment.routes["other"], Call("1", "other", currents(2, 8, 16)))
            assert answer["y"].tobytes() == sound(currents(2, 8, 16))

    asyncio.run(main())


@pytest.mark.slow
def test_models_that_are_planned_together_share_the_cores_of_their_workers(monkeypatch):
    models = [find("svgg-digits"), find("stransformer-digits")]
    monkeypatch.setenv(CORES, "15")  # 7, and 3 and 6
    with pytest.raises(
        UserError, match=r"stransformer-digits: stage .* takes 6 cores.*: worker-1 5 cores.*; add workers"
    ):
        plan_models(models, "auto", 2, device="darwin3")
    planned = plan_models(models, "auto", 3, device="darwin3")
    taken = {"worker-1": 0, "worker-2": 0}
    for stage in (stage for each in planned for stage in each.plan.stages if stage.cores is not None):
        taken[stage.worker] += stage.cores.total
    assert sorted(taken.values()) == [6, 10]


@pytest.mark.slow
def test_a_model_is_planned_for_chips_that_bear_its_rate_and_for_no_processor(monkeypatch):
    models = [find("svgg-digits")]
    (free,) = plan_models(models, "auto", 2, device="darwin3")
    (events,) = [each.events for each in free.plan.stages if each.events]
    # So many arrived at cores, of one request; the densities are the mean of 16.
    assert events == pytest.approx(1670, rel=0.1)
    keps = math.ceil(20 * events / 1000)
    monkeypatch.setenv(KEPS, str(keps))
    (planned,) = plan_models(models, "auto", 2, device="darwin3", rates={"svgg-digits": 20.0})
    assert [planned.plan.need(each).keps for each in planned.plan.stages if each.cores] == [keps]
    monkeypatch.setenv(KEPS, str(keps - 1))
    with pytest.raises(
        UserError, match=rf"takes 7 cores and {keps} KEPS, .*: worker-1 575 .* and {keps - 1} KEPS; .*its rate"
    ):
        plan_models(models, "auto", 2, device="darwin3", rates={"svgg-digits": 20.0})
    with pytest.raises(UserError, match="events are counted on chips alone: leave its rate out"):
        plan_models(models, "auto", 2, rates={"svgg-digits": 20.0})
