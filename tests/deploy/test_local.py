"""Real worker processes: they start, answer, crash, drain and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio.from_thread
import httpx
import numpy as np
import pytest

from synfire.base.errors import DeadlineExceeded, PermanentError, TemporaryError, UserError
from synfire.deploy.local import LocalDeployment, Settings
from synfire.gateway.call import Call
from synfire.gateway.local import LocalRoute
from synfire.graph import reference
from synfire.testing.examples import collect, currents, digits, image, stream
from synfire.testing.graphs import plan_of, random_graph, random_inputs, random_plan
from synfire.wire import oip

QUIET = Settings(http="")
PLAIN = Settings(http="", heal=False)


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """A home with a short path: pytest's own are too long for a socket's name when tests run side by side."""
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def sockets(folder):
    return [path for path in Path(folder).rglob("*") if path.is_socket()]


def test_two_workers_answer_as_the_whole_model_and_leave_nothing_behind(home):
    graph, plan = digits()

    async def main():
        async with LocalDeployment({"digits": (graph, plan)}, QUIET) as deployment:
            pids = [worker.process.pid for worker in deployment.workers.values()]
            assert all(alive(pid) for pid in pids)
            assert len(sockets(home)) == 2
            for seed in range(3):
                answer = await collect(deployment.routes["digits"], Call("1", "digits", image(seed)))
                assert answer["y"].shape == (8, 2, 10)
                assert answer["y"][-1].tobytes() == reference.run(graph, image(seed))["y"].tobytes()
            described = await deployment.describe()
            assert [each.stages[0].jobs for each in described.values()] == [12, 12]
            assert described["w0"].stages[0].links[0].encoded_bytes > 0
        assert not any(alive(pid) for pid in pids)
        assert sockets(home) == []
        assert list((home / "run").iterdir()) == []

    asyncio.run(main())


@pytest.mark.slow
def test_models_share_workers_and_random_cuts_answer_as_the_whole():
    models = {}
    for seed in (3, 5, 9, 14):
        graph = random_graph(seed)
        models[f"m{seed}"] = (graph, random_plan(graph, seed, 2, f"m{seed}"))

    async def main():
        async with LocalDeployment(models, QUIET) as deployment:
            assert set(deployment.workers) <= {"w0", "w1"}
            calls = [
                (name, Call(f"{name}-{i}", name, random_inputs(models[name][0], i, 2, 5)))
                for name in models
                for i in range(4)
            ]
            answers = await asyncio.gather(*(collect(deployment.routes[name], call) for name, call in calls))
            for (name, call), answer in zip(calls, answers, strict=True):
                graph = models[name][0]
                local = LocalRoute(graph, engine="reference")
                wanted = await collect(local, call)
                local.close()
                assert {k: v.tobytes() for k, v in answer.items()} == {k: v.tobytes() for k, v in wanted.items()}

    asyncio.run(main())


@pytest.mark.slow
def test_interleaved_sessions_and_requests_never_see_each_other():
    graph, plan = stream()

    async def main():
        async with LocalDeployment({"stream": (graph, plan)}, QUIET) as deployment:
            route = deployment.routes["stream"]

            async def session(seed):
                inputs, got = currents(seed, 12)["x"], []
                for i in range(3):
                    call = Call("c", "stream", {"x": inputs[4 * i : 4 * i + 4]}, f"s{seed}", i == 0, i == 2)
                    got.append((await collect(route, call))["y"])
                return np.concatenate(got)

            async def request(seed):
                return (await collect(route, Call("c", "stream", currents(seed, 12))))["y"]

            got = await asyncio.gather(*(each(seed) for seed in range(6) for each in (session, request)))
            for i, array in enumerate(got):
                assert array.tobytes() == reference.run(graph, currents(i // 2, 12))["y"].tobytes()
            described = await deployment.describe()
            assert [(each.requests, each.sessions, each.buffered_bytes) for each in described.values()] == [
                (0, 0, 0)
            ] * 2

    asyncio.run(main())


@pytest.mark.slow
def test_without_healing_a_killed_worker_fails_its_calls_at_once_with_the_reason():
    graph, plan = stream()
    other, other_plan = digits("digits", ("w2", "w2"))

    async def main():
        async with LocalDeployment({"stream": (graph, plan), "digits": (other, other_plan)}, PLAIN) as deployment:
            lost = asyncio.get_running_loop().create_future()
            deployment.on_worker_lost(lambda name, error: lost.set_result((name, error)))
            parts = deployment.routes["stream"].answer(Call("1", "stream", currents(1, 10_000)))
            await anext(parts)
            os.kill(deployment.workers["w1"].process.pid, signal.SIGKILL)
            began_s = time.monotonic()
            with pytest.raises(TemporaryError, match="worker w1"):
                async for _ in parts:
                    pass
            assert time.monotonic() - began_s < 5
            name, error = await lost
            assert name == "w1"
            assert "SIGKILL" in str(error)
            assert not deployment.routes["stream"].ready
            with pytest.raises(TemporaryError, match="w1 is gone, and nothing replaces it; start the deployment again"):
                await collect(deployment.routes["stream"], Call("2", "stream", currents(1, 1)))
            assert deployment.routes["digits"].ready
            answer = await collect(deployment.routes["digits"], Call("3", "digits", image(1)))
            assert answer["y"][-1].tobytes() == reference.run(other, image(1))["y"].tobytes()
            described = await deployment.describe()
            assert described["w0"].requests == 0

    asyncio.run(main())


def test_sigterm_drains_without_losing_an_accepted_call():
    graph, plan = stream()
    steps = 300

    async def main():
        async with LocalDeployment({"stream": (graph, plan)}, PLAIN) as deployment:
            route = deployment.routes["stream"]
            calls = [route.answer(Call(str(i), "stream", currents(i, steps))) for i in range(3)]
            first = [await anext(call) for call in calls]
            for worker in deployment.workers.values():
                worker.process.terminate()
            for i, call in enumerate(calls):
                rest = [part.outputs["y"] async for part in call]
                got = np.concatenate([first[i].outputs["y"], *rest])
                assert got.tobytes() == reference.run(graph, currents(i, steps))["y"].tobytes()
            codes = [await worker.process.exited() for worker in deployment.workers.values()]
            assert codes == [0, 0]
            with pytest.raises(TemporaryError, match="worker w"):
                await collect(route, Call("9", "stream", currents(1, 1)))

    asyncio.run(main())


@pytest.mark.slow
def test_stopping_waits_for_calls_in_flight():
    graph, plan = stream()

    async def main():
        deployment = LocalDeployment({"stream": (graph, plan)}, QUIET)
        async with deployment:
            parts = deployment.routes["stream"].answer(Call("1", "stream", currents(1, 200)))
            first = await anext(parts)

            async def rest():
                return [part.outputs["y"] async for part in parts]

            finishing = asyncio.create_task(rest())
        got = np.concatenate([first.outputs["y"], *(await finishing)])
        assert got.tobytes() == reference.run(graph, currents(1, 200))["y"].tobytes()

    asyncio.run(main())


@pytest.mark.slow
def test_deadline_and_cancellation_free_the_workers():
    graph, plan = stream()

    async def main():
        async with LocalDeployment({"stream": (graph, plan)}, QUIET) as deployment:
            route = deployment.routes["stream"]
            with pytest.raises(DeadlineExceeded):
                await collect(route, Call("1", "stream", currents(1, 100), deadline_s=time.monotonic()))
            parts = route.answer(Call("2", "stream", currents(1, 5000)))
            await anext(parts)
            await parts.aclose()
            await collect(route, Call("3", "stream", currents(1, 3)))
            assert [each.requests for each in (await deployment.describe()).values()] == [0, 0]

    asyncio.run(main())


@pytest.mark.slow
def test_bad_frame_fails_its_own_call_only():
    graph, plan = stream()

    async def main():
        async with LocalDeployment({"stream": (graph, plan)}, QUIET) as deployment:
            route = deployment.routes["stream"]
            wrong = Call("1", "stream", {"x": np.zeros((2, 1, 5), np.float32)})
            good = Call("2", "stream", currents(2, 9))
            results = await asyncio.gather(collect(route, wrong), collect(route, good), return_exceptions=True)
            assert isinstance(results[0], UserError)
            assert "(steps, batch, …)" in str(results[0])
            assert results[1]["y"].tobytes() == reference.run(graph, good.inputs)["y"].tobytes()

    asyncio.run(main())


@pytest.mark.slow
def test_frame_beyond_the_limit_fails_its_own_call_only():
    graph, plan = stream(size=256)

    async def main():
        settings = {"max_frame_bytes": 1 << 20}
        async with LocalDeployment({"stream": (graph, plan)}, QUIET, settings) as deployment:
            route = deployment.routes["stream"]
            big = np.random.default_rng(0).normal(size=(1, 2000, 256)).astype(np.float32)
            with pytest.raises(UserError, match="max_frame_bytes"):
                await collect(route, Call("1", "stream", {"x": big}))
            good = currents(2, 3, 256)
            answer = await collect(route, Call("2", "stream", good))
            assert answer["y"].tobytes() == reference.run(graph, good)["y"].tobytes()

    asyncio.run(main())


@pytest.mark.slow
def test_stage_without_room_is_refused_and_nothing_of_the_model_stays():
    graph, plan = digits()

    async def main():
        async with LocalDeployment({}, QUIET, {"parameter_bytes": 2200}) as deployment:
            tight = plan_of(graph, [("encode", "l1", "n1"), ("l2", "n2", "rate")], ["w0", "w0"], 2, "digits")
            with pytest.raises(PermanentError, match="raise parameter_bytes"):
                await deployment.add("digits", graph, tight)
            assert (await deployment.describe())["w0"].stages == ()
            assert "digits" not in deployment.routes
            await deployment.add("digits", graph, plan)  # apart there is room
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(1)))
            assert answer["y"][-1].tobytes() == reference.run(graph, image(1))["y"].tobytes()

    asyncio.run(main())


@pytest.mark.slow
def test_removed_model_is_gone():
    graph, plan = digits()

    async def main():
        async with LocalDeployment({"digits": (graph, plan)}, QUIET) as deployment:
            route = deployment.routes["digits"]
            await deployment.remove("digits")
            with pytest.raises(TemporaryError, match="is being unloaded"):
                await collect(route, Call("1", "digits", image(1)))

    asyncio.run(main())


def test_unknown_worker_setting_is_refused_before_anything_starts():
    with pytest.raises(UserError, match="no worker setting 'max_batches'"):
        LocalDeployment({}, QUIET, {"max_batches": 3})


def test_worker_that_cannot_start_is_reported_with_its_words(home):
    (home / "run").write_text("in the way")

    async def main():
        async with LocalDeployment({"digits": digits()}, QUIET):
            raise AssertionError("it started")

    with pytest.raises(UserError, match="set SYNFIRE_HOME"):
        asyncio.run(main())


@pytest.mark.slow
def test_long_home_does_not_make_too_long_a_socket_path(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / ("x" * 120)))
    graph, plan = digits()

    async def main():
        async with LocalDeployment({"digits": (graph, plan)}, QUIET) as deployment:
            address = Path(deployment.workers["w0"].address.removeprefix("unix:"))
            assert len(str(address)) < 108
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(1)))
            assert answer["y"][-1].tobytes() == reference.run(graph, image(1))["y"].tobytes()
        assert not address.parent.exists()

    asyncio.run(main())


def test_every_stage_and_operator_answers_the_open_inference_protocol():
    graph, plan = digits("digits")

    async def main():
        async with (
            LocalDeployment({"digits": (graph, plan)}) as deployment,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            door = deployment.workers["w0"].http
            while not (await client.get(f"{door}/v2/health/ready")).is_success:  # it is once it has come to rest
                await asyncio.sleep(0.05)
            listed = sorted(["digits.s0", *(f"digits.{name}" for name in plan.stages[0].operators)])
            assert (await client.get(f"{door}/v2/models")).json() == {"models": listed}
            metadata = (await client.get(f"{door}/v2/models/digits.s0")).json()
            assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]
            assert metadata["outputs"] == [{"name": "n1", "datatype": "UINT8", "shape": [-1, -1, 32]}]
            trace = reference.trace(graph, image(4)).emitted
            body, header = oip.build_infer_request(image(4))
            headers = {oip.HEADER_LENGTH: str(header)}
            response = await client.post(f"{door}/v2/models/digits.s0/infer", content=body, headers=headers)
            answer = oip.parse_infer_response(response.content, int(response.headers[oip.HEADER_LENGTH]))
            assert answer.outputs["n1"].swapaxes(0, 1).tobytes() == trace["n1"].tobytes()
            for operator, source in (("l1", "encode"), ("n1", "l1")):
                turned = np.ascontiguousarray(trace[source].swapaxes(0, 1))
                body, header = oip.build_infer_request({source: turned}, binary=False)
                response = await client.post(f"{door}/v2/models/digits.{operator}/infer", content=body)
                answer = oip.parse_infer_response(response.content)
                assert answer.outputs[operator].swapaxes(0, 1).tolist() == trace[operator].tolist()
            assert (await client.get(f"{door}/v2/models")).json() == {"models": listed}
            assert (await deployment.describe())["w0"].requests == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("digits.nobody/infer", b"{}", 404, "digits.l1"),
        ("digits.s0/infer", b"{", 400, "not an Open Inference Protocol"),
        (
            "digits.s0/infer",
            b'{"inputs":[{"name":"z","shape":[1],"datatype":"FP32","data":[1]}]}',
            400,
            "takes the inputs",
        ),
        ("digits.s0/infer", b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}', 400, "[batch, 16]"),
        (
            "digits.n1/infer",
            b'{"inputs":[{"name":"l1","shape":[1,32],"datatype":"FP32","data":[' + b"0," * 31 + b"0]}]}",
            400,
            "has shape [1, 32]; it takes [batch, steps, 32]",
        ),
        ("digits.s0/infer", b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1]}]}', 400, "takes FP32"),
        ("digits.s0/nothing", b"", 404, "Not Found"),
    ],
)
def test_worker_door_refuses_bad_requests_in_words(path, body, status, words, door):
    response = httpx.post(f"{door}/v2/models/{path}", content=body, trust_env=False)
    assert response.status_code == status
    assert words in response.json()["error"]


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """One worker of a deployment, kept for several tests by an event loop in a thread."""
    with pytest.MonkeyPatch.context() as patch, anyio.from_thread.start_blocking_portal() as portal:
        patch.setenv("SYNFIRE_HOME", str(tmp_path_factory.mktemp("home")))
        deployment = LocalDeployment({"digits": digits("digits", ("w0", "w0"))})
        with portal.wrap_async_context_manager(deployment):
            yield deployment.workers["w0"].http


@pytest.mark.slow
def test_foreign_service_computes_a_stage():
    """The middle stage is asked of another deployment's worker, by its URL, as any OIP service would be."""
    graph, _ = digits()
    groups = [("encode", "l1", "n1"), ("l2",), ("n2", "rate")]
    plan = plan_of(graph, groups, ["w0", "w1", "w0"], 2, "digits")
    far_plan = plan_of(graph, [graph.order()], ["f0"], 2, "far")

    async def main():
        async with LocalDeployment({"far": (graph, far_plan)}) as far:
            services = {"digits": {"s1": f"{far.workers['f0'].http}/v2/models/far.l2"}}
            async with LocalDeployment({"digits": (graph, plan)}, QUIET, services=services) as near:
                calls = [Call(str(i), "digits", image(i)) for i in range(3)]
                answers = await asyncio.gather(*(collect(near.routes["digits"], call) for call in calls))
                for call, answer in zip(calls, answers, strict=True):
                    assert answer["y"][-1].tobytes() == reference.run(graph, call.inputs)["y"].tobytes()
                await far.stop()
                with pytest.raises(TemporaryError, match="cannot be reached"):
                    await collect(near.routes["digits"], calls[0])

    asyncio.run(main())


@pytest.mark.slow
def test_foreign_service_may_not_host_state():
    graph, plan = digits("digits")

    async def main():
        async with LocalDeployment({"digits": (graph, plan)}, QUIET, services={"digits": {"s1": "http://127.0.0.1:1"}}):
            raise AssertionError("it started")

    with pytest.raises(UserError, match="keeps state"):
        asyncio.run(main())


ORPHAN = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from synfire.deploy.local import LocalDeployment, Settings
import importlib.util
spec = importlib.util.spec_from_file_location("t", sys.argv[2])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)

async def main():
    async with LocalDeployment({"digits": t.digits()}, Settings(http="")) as deployment:
        print(*(worker.process.pid for worker in deployment.workers.values()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
def test_killed_parent_leaves_no_orphan_and_no_socket(home):
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(Path(__file__).parent), __file__],
        stdout=subprocess.PIPE,
        env={**os.environ, "SYNFIRE_HOME": str(home)},
    )
    with parent:
        pids = [int(each) for each in parent.stdout.readline().split()]
        assert len(pids) == 2
        ends = [os.pidfd_open(pid) for pid in pids]
        parent.kill()
        for descriptor in ends:
            assert wait_readable(descriptor, 20), "the worker outlived its parent"
            os.close(descriptor)
    assert sockets(home) == []


def wait_readable(descriptor, timeout_s):
    return bool(select.select([descriptor], [], [], timeout_s)[0])
