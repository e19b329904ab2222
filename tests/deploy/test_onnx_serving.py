"""ONNX models behind a gateway: by the protocol of the ONNX Runtime server, and when their worker is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http

from synfire.base.errors import UserError
from synfire.deploy.local import LocalDeployment
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import serving_in_background
from synfire.deploy.settings import Settings
from synfire.gateway.call import Call
from synfire.testing.examples import collect
from synfire.testing.onnx_models import Node, write_onnx
from synfire.wire.client import Client
from synfire.zoo import Model, find

pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

POWERS = 8
"""Matrix products in a row, so that a request takes long enough to be killed in its midst."""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Any:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


@pytest.fixture
def mixed(tmp_path: Path) -> Model:
    """Several inputs and outputs of several types, with open axes: halves of a matrix, its text, and whether it was asked for."""
    write_onnx(
        tmp_path / "mixed.onnx",
        [
            Node("Cast", "wide", "half", {"to": 10}),
            Node("Identity", "text", "said", {}),
            Node("Not", "flag", "unflagged", {}),
            Node("Shape", "wide", "size", {}),
        ],
        {"wide": ("DOUBLE", ["n", "m"]), "text": ("STRING", ["k"]), "flag": ("BOOL", [])},
        {"half": ("FLOAT16", ["n", "m"]), "said": ("STRING", ["k"]), "unflagged": ("BOOL", []), "size": ("INT64", [2])},
    )
    return find(str(tmp_path / "mixed.onnx"))


@pytest.fixture
def rows(tmp_path: Path) -> Model:
    weights = {"w": np.arange(6, dtype=np.float32).reshape(3, 2)}
    nodes = [Node("MatMul", "x w", "y")]
    write_onnx(tmp_path / "rows.onnx", nodes, {"x": ("FLOAT", ["n", 3])}, {"y": ("FLOAT", ["n", 2])}, weights)
    return find(str(tmp_path / "rows.onnx"))


@pytest.fixture
def powers(tmp_path: Path) -> Model:
    names = ["x", *(f"x{power}" for power in range(1, POWERS)), "y"]
    nodes = [Node("MatMul", f"{one} x", other) for one, other in pairwise(names)]
    write_onnx(tmp_path / "powers.onnx", nodes, {"x": ("FLOAT", ["n", "n"])}, {"y": ("FLOAT", ["n", "n"])})
    return find(str(tmp_path / "powers.onnx"))


def test_a_model_of_any_tensors_is_asked_as_at_any_server_of_the_protocol(mixed: Model) -> None:
    wide = np.array([[1, 2.5, np.inf], [np.nan, -0.5, 3]])
    with serving_in_background(plan_models([mixed], "auto", 2)) as running:
        client = tritonclient.http.InferenceServerClient(running.addresses.url.removeprefix("http://"))
        about = client.get_model_metadata("mixed")
        assert [(each["name"], each["datatype"], each["shape"]) for each in about["inputs"]] == [
            ("wide", "FP64", [-1, -1]),
            ("text", "BYTES", [-1]),
            ("flag", "BOOL", []),
        ]
        assert client.get_model_config("mixed")["max_batch_size"] == 0
        given = {"wide": wide, "text": np.array([b"a", "ß".encode()], object), "flag": np.array(True)}
        inputs = []
        for each in about["inputs"]:
            tensor = tritonclient.http.InferInput(each["name"], list(given[each["name"]].shape), each["datatype"])
            inputs.append(tensor.set_data_from_numpy(given[each["name"]]))
        answer = client.infer("mixed", inputs)
        assert np.array_equal(answer.as_numpy("half"), wide.astype(np.float16), equal_nan=True)
        assert answer.as_numpy("said").tolist() == [b"a", "ß".encode()]
        assert answer.as_numpy("unflagged").tolist() is False
        assert answer.as_numpy("size").tolist() == [2, 3]
        few = client.infer("mixed", inputs, outputs=[tritonclient.http.InferRequestedOutput("size", binary_data=False)])
        assert [each["name"] for each in few.get_response()["outputs"]] == ["size"]


def test_an_input_that_does_not_fit_is_named_as_callers_see_it(mixed: Model, rows: Model) -> None:
    with (
        serving_in_background(plan_models([mixed, rows], "auto", 2)) as running,
        Client(running.addresses.url) as client,
    ):
        given = {"wide": np.ones((2, 2, 2)), "text": np.array([b"a"], object), "flag": np.array(True)}
        with pytest.raises(UserError, match=r"'wide' has shape \[2, 2, 2\]; it takes \[any, any\]"):
            client.infer("mixed", given)
        with pytest.raises(UserError, match=r"'x' has shape \[2, 4\]; it takes \[batch, 3\]"):
            client.infer("rows", {"x": np.ones((2, 4), np.float32)})
        assert client.inputs("mixed")["wide"].shape == (-1, -1)
        answered = client.infer("rows", {"x": np.eye(3, dtype=np.float32)}).outputs["y"]
        assert answered.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_requests_of_rows_are_computed_together(rows: Model) -> None:
    (planned,) = plan_models([rows], "auto", 2)

    async def main() -> None:
        async with LocalDeployment(
            {"rows": (planned.graph, planned.plan)}, Settings(http="", warm_ups=0)
        ) as deployment:
            route = deployment.routes["rows"]
            calls = [Call(str(n), "rows", {"x": np.full((1, 3), n, np.float32)}) for n in range(40)]
            answers = await asyncio.gather(*(collect(route, call) for call in calls))
            assert [each["y"].tolist() for each in answers] == [[[6.0 * n, 9.0 * n]] for n in range(40)]
            (stage,) = (await deployment.describe())[planned.plan.workers[0]].stages
            assert stage.samples == 40
            assert stage.jobs < 40, "each request was computed by itself"

    asyncio.run(main())


@pytest.mark.parametrize("spares", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_request_whose_worker_is_killed_is_computed_again(powers: Model, spares: int) -> None:
    (planned,) = plan_models([powers], "auto", 2)
    x = np.random.default_rng(0).random((1, 1000, 1000), np.float32) / 1000

    async def main() -> None:
        graph, plan = planned.graph, planned.plan
        async with LocalDeployment({"powers": (graph, plan)}, Settings(http="", spares=spares)) as deployment:
            await deployment.until_warm()
            route = deployment.routes["powers"]
            wanted = await collect(route, Call("1", "powers", {"x": x}))
            victim = deployment.workers[route.plan.workers[0]].process.pid
            before = ticks(victim)
            answer = asyncio.create_task(collect(route, Call("2", "powers", {"x": x})))
            while ticks(victim) < before + 3:
                await asyncio.sleep(0)
            os.kill(victim, signal.SIGKILL)
            assert (await answer)["y"].tobytes() == wanted["y"].tobytes()
            assert route.replays == 1, "it was not killed in the midst of the request"

    asyncio.run(main())


def ticks(pid: int) -> int:
    """How long the process has computed, in hundredths of a second."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
