"""A model repository behind a gateway, asked by Triton's own client: versions, ensembles, batches, and a worker that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from anyio.from_thread import start_blocking_portal

from synfire.cli.chains import chains_among, joined
from synfire.cli.models import Reading, find_all
from synfire.cli.replicas import replicated
from synfire.cli.repositories import unfolded
from synfire.deploy.listening import Listening
from synfire.deploy.local import LocalDeployment
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import Serving, serving
from synfire.deploy.settings import Settings
from synfire.gateway.call import Call
from synfire.testing.examples import collect

ADD = """
    import json, time
    from pathlib import Path
    import numpy as np
    import triton_python_backend_utils as pb_utils

    HERE = Path(__file__).parent

    class TritonPythonModel:
        def initialize(self, args):
            self.factor = np.float32(json.loads(args["model_config"])["parameters"]["factor"]["string_value"])
            self.factor *= int(args["model_version"])

        def execute(self, requests):
            found = []
            for request in requests:
                x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
                if x.ravel()[0] == 99:
                    with open(HERE / "begun", "a") as file:
                        file.write("begun")
                    while not (HERE / "go").exists():
                        time.sleep(0.001)
                found.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x * self.factor)]))
            return found

        def finalize(self):
            (HERE / "finalized").touch()
"""
CONFIG = """
    backend: "python"
    max_batch_size: 8
    dynamic_batching { }
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
    parameters { key: "factor" value { string_value: "10" } }
    version_policy: { all { } }
"""
TWICE = """
    platform: "ensemble"
    max_batch_size: 8
    input [ { name: "IN" data_type: TYPE_FP32 dims: [ 2 ] } ]
    output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
    ensemble_scheduling { step [
      { model_name: "times" model_version: -1 input_map { key: "x" value: "IN" } output_map { key: "y" value: "one" } },
      { model_name: "times" model_version: 1 input_map { key: "x" value: "one" } output_map { key: "y" value: "OUT" } }
    ] }
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in (1, 2):
        (tmp_path / f"times/{version}").mkdir(parents=True)
        (tmp_path / f"times/{version}/model.py").write_text(textwrap.dedent(ADD))
    (tmp_path / "times/config.pbtxt").write_text(CONFIG)
    (tmp_path / "twice/1").mkdir(parents=True)
    (tmp_path / "twice/config.pbtxt").write_text(TWICE)
    return tmp_path


@contextmanager
def served(repository: Path) -> Iterator[Serving]:
    """Everything in the repository, as `synfire serve` serves it."""
    chains, models, _ = chains_among(unfolded([str(repository)]))
    found = find_all(models, Reading())
    whole = serving(plan_models(found, "auto", 2), Listening(grpc_port=0), chains=joined(chains, found))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(whole) as running:
        yield running


def tensor(name: str, *rows: tuple[float, float], client: Any = tritonclient.http) -> list[Any]:
    made = client.InferInput(name, [len(rows), 2], "FP32")
    return [made.set_data_from_numpy(np.array(rows, np.float32))]


def test_a_repository_is_asked_by_tritons_client_as_triton_itself(repository: Path) -> None:
    with served(repository) as running:
        client = tritonclient.http.InferenceServerClient(running.addresses.url.removeprefix("http://"))
        index = {(each["name"], each["version"], each["state"]) for each in client.get_model_repository_index()}
        assert index == {("times", "1", "READY"), ("times", "2", "READY"), ("twice", "1", "READY")}
        about = client.get_model_metadata("times")
        assert about["versions"] == ["1", "2"]
        assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        assert client.get_model_config("times")["max_batch_size"] == 8
        newest = client.infer("times", tensor("x", (1, 2), (3, 4)))
        assert newest.as_numpy("y").tolist() == [[20, 40], [60, 80]]
        assert newest.get_response()["model_version"] == "2"
        first = client.infer("times", tensor("x", (1, 2)), model_version="1")
        assert first.as_numpy("y").tolist() == [[10, 20]]
        assert client.infer("twice", tensor("IN", (1, 2))).as_numpy("OUT").tolist() == [[200, 400]]
        with pytest.raises(
            tritonclient.http.InferenceServerException, match="has a batch of 9, above the limit batch=8"
        ):
            client.infer("times", tensor("x", *[(0, 0)] * 9))
    assert [(repository / f"times/{version}/finalized").exists() for version in (1, 2)] == [True, True]


@pytest.mark.slow
def test_a_model_has_as_many_replicas_as_instances_are_configured(repository: Path) -> None:
    (repository / "times/config.pbtxt").write_text(CONFIG + "instance_group [ { kind: KIND_CPU count: 2 } ]")
    found = replicated(find_all([f"times@{version}={repository}/times/{version}" for version in (1, 2)], Reading()), ())
    assert [each.name for each in found] == ["times@1#1", "times@2#1", "times@1#2", "times@2#2"]
    whole = serving(plan_models(found, "auto", 2), Listening())
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(whole) as running:
        assert len(portal.call(running.deployment.describe)) == 4
        client = tritonclient.http.InferenceServerClient(running.addresses.url.removeprefix("http://"))
        assert client.get_model_metadata("times")["versions"] == ["1", "2"]
        for version in ("1", "2"):
            answer = client.infer("times", tensor("x", (1, 2)), model_version=version)
            assert answer.as_numpy("y").tolist() == [[10 * int(version), 20 * int(version)]]


def test_requests_whose_worker_is_killed_are_computed_again(repository: Path) -> None:
    (_, model) = find_all([each for each in unfolded([str(repository)]) if "twice" not in each], Reading())
    (planned,) = plan_models([model], "auto", 2)
    name = planned.model.name

    async def main() -> None:
        async with LocalDeployment({name: (planned.graph, planned.plan)}, Settings(http="")) as deployment:
            route = deployment.routes[name]
            victim = deployment.workers[route.plan.workers[0]].process.pid
            xs = [np.full((1, 2), each, np.float32) for each in (99, 1, 2, 3)]
            answers = [asyncio.create_task(collect(route, Call(str(n), name, {"x": x}))) for n, x in enumerate(xs)]
            while not (repository / "times/2/begun").exists():
                await asyncio.sleep(0)
            os.kill(victim, signal.SIGKILL)
            (repository / "times/2/go").touch()
            found = await asyncio.gather(*answers)
            assert [each["y"].tolist() for each in found] == [(x * 20).tolist() for x in xs]
            assert route.replays == 4, "it was not killed in the midst of the requests"

    asyncio.run(main())
