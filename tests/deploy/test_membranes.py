"""Bits flip in what real workers hold, or compute: whoever called gets the answer of an undisturbed run."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest

from synfire.base.errors import UserError
from synfire.base.processes import born
from synfire.control.record import RecoveryLog
from synfire.deploy.faults import Options, Process, Scene, inject
from synfire.deploy.local import LocalDeployment, Settings
from synfire.engines import ENGINES
from synfire.gateway.call import Call
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan.plan import stage_graph
from synfire.testing.examples import collect, currents, stream

CALLS, STEPS = 6, 5


@pytest.fixture(autouse=True)
def home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def streamed(engine):
    """Two stages on the step clock, w0's and w1's, the second one on this engine."""
    graph, plan = stream(size=16)
    first, second = plan.stages
    plan = msgspec.structs.replace(plan, stages=(first, msgspec.structs.replace(second, engine=engine)))
    return simplify(flatten(graph)), plan


def undisturbed(engine, given):
    """What the calls of a session are answered when nothing happens."""
    graph, plan = streamed(engine)
    answers = [dict(each) for each in given]
    for stage in plan.stages:
        part = stage_graph(graph, stage.operators)
        program = ENGINES[plan.engine_of(stage)]().build(part)
        state = program.initial_state(1)
        for found in answers:
            state, outputs = program.run(state, {name: found[name] for name in part.inputs}, STEPS)
            found |= outputs
    return [found["n2"].tobytes() for found in answers]


async def flip(deployment, worker, seed, place=""):
    """`synfire fault membrane-bit` for a worker."""
    process = deployment.workers[worker].process
    scene = Scene(
        {worker: Process(worker, process.pid, born(process.pid))},
        deployment=deployment.id,
        addresses={worker: deployment.workers[worker].address},
    )
    await asyncio.to_thread(inject, "membrane-bit", f"{worker}{place}", scene, Options(seed=seed), lambda act: None)


async def disturbed(deployment, workers, given):
    """What the calls of a session are answered when before each a bit flips at the next of these workers."""
    found = []
    for n, inputs in enumerate(given):
        if n and workers:
            await flip(deployment, workers.pop(0), n)
        call = Call(f"c{n}", "stream", inputs, "s", n == 0, n == CALLS - 1)
        found.append((await collect(deployment.routes["stream"], call))["y"].tobytes())
    return found


def flipped():
    return [each for each in RecoveryLog().recent(20) if each.cause.kind == "flipped membrane"]


@pytest.mark.parametrize(
    ("engine", "workers"), [("cpu", ["w0", "w1"]), pytest.param("darwin3", ["w1", "w1", "w0"], marks=pytest.mark.slow)]
)
def test_a_session_whose_membranes_flip_answers_on_with_the_bits_of_an_undisturbed_one(engine, workers):
    given, hit = [currents(n, STEPS, 16) for n in range(CALLS)], list(workers)

    async def main():
        async with LocalDeployment({"stream": streamed(engine)}, Settings(http="")) as deployment:
            assert await disturbed(deployment, hit, given) == undisturbed(engine, given)
            with pytest.raises(UserError, match="runs on a processor, where no bit can be named"):
                await flip(deployment, "w0", 0, ":3,4@1.1")
            await deployment.until_warm()
            assert set(deployment.workers) == {"w0", "w1"}
            assert deployment.recoveries.counts == {("flipped membrane", "recovered"): len(workers)}

    asyncio.run(main())
    assert [each.worker for each in flipped()] == workers
    rests = [each for each in flipped() if each.sessions_restored]
    assert len(rests) == (2 if engine == "cpu" else 1)
    assert {each.cause.target.rpartition(" of ")[0] for each in rests} == {"session 's'"}
    assert all(each.requests_replayed == 1 for each in flipped())
    assert {step.name for each in flipped() for step in each.steps} <= {"detect", "replay"}


@pytest.mark.slow
def test_a_worker_whose_states_are_wrong_again_and_again_is_replaced():
    given = [currents(n, STEPS, 16) for n in range(CALLS)]

    async def main():
        async with LocalDeployment({"stream": streamed("cpu")}, Settings(http="", spares=1)) as deployment:
            await deployment.until_warm()
            assert await disturbed(deployment, ["w1"] * 3, given) == undisturbed("cpu", given)
            await deployment.until_warm()
            assert "w1" not in deployment.workers

    asyncio.run(main())
    assert len(flipped()) == 3
    (lost,) = [each for each in RecoveryLog().recent(20) if each.cause.kind == "corruption"]
    assert (lost.worker, lost.spare, lost.outcome) == ("w1", "spare-0", "recovered")


@pytest.mark.slow
def test_what_is_computed_twice_has_the_same_bits():
    given = [currents(n, STEPS, 16) for n in range(CALLS)]

    async def main():
        settings = Settings(http="", twice="always")
        async with LocalDeployment({"stream": streamed("cpu")}, settings) as deployment:
            assert await disturbed(deployment, [], given) == undisturbed("cpu", given)

    asyncio.run(main())
    assert not flipped()
