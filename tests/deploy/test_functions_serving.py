"""Python functions behind a gateway: asked by the usual clients, and when they crash, hang, or lose their worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from anyio.from_thread import start_blocking_portal

from synfire.base.errors import PermanentError
from synfire.deploy.listening import Listening
from synfire.deploy.local import LocalDeployment
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import Serving, serving
from synfire.deploy.settings import Settings
from synfire.gateway.call import Call
from synfire.testing.examples import collect
from synfire.zoo import Model, find

SOURCE = """
    import os, time
    from pathlib import Path
    from typing import Annotated, NamedTuple
    import numpy as np
    from numpy.typing import NDArray
    from synfire import operator

    HERE = Path(__file__).parent

    class Decision(NamedTuple):
        text: str
        order: Annotated[NDArray[np.int64], "classes"]

    @operator
    def decide(rates: Annotated[NDArray[np.float32], "classes"], names: list[str]) -> Decision:
        best = names[int(rates.argmax())]
        if best == "crash":
            os._exit(1)
        if best == "raise":
            raise ValueError("there is nothing to decide")
        if best == "hang":
            while True:
                pass
        if best == "wait":
            with open(HERE / "begun", "a") as file:
                file.write("begun ")
            while not (HERE / "go").exists():
                time.sleep(0.001)
        return Decision(best, np.argsort(-rates))
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


@pytest.fixture
def decide(tmp_path: Path) -> Model:
    (tmp_path / "decide.py").write_text(textwrap.dedent(SOURCE))
    return find(str(tmp_path / "decide.py"))


@contextmanager
def served(model: Model) -> Iterator[Serving]:
    whole = serving(plan_models([model], "auto", 2), Listening(grpc_port=0))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(whole) as running:
        yield running


def tensors(client: Any, *names: str) -> list[Any]:
    rates = client.InferInput("rates", [len(names)], "FP32")
    rates.set_data_from_numpy(np.arange(len(names), dtype=np.float32))
    texts = client.InferInput("names", [len(names)], "BYTES")
    texts.set_data_from_numpy(np.array([each.encode() for each in names], object))
    return [rates, texts]


def asked(*names: str) -> dict[str, Any]:
    texts = np.empty((1, len(names)), object)
    texts[0] = [each.encode() for each in names]
    return {"rates": np.arange(len(names), dtype=np.float32)[None], "names": texts}


def test_a_function_is_asked_by_http_and_grpc_as_any_model(decide: Model) -> None:
    with served(decide) as running:
        http = tritonclient.http.InferenceServerClient(running.addresses.url.removeprefix("http://"))
        about = http.get_model_metadata("decide")
        assert [(each["name"], each["datatype"], each["shape"]) for each in about["inputs"]] == [
            ("rates", "FP32", [-1]),
            ("names", "BYTES", [-1]),
        ]
        answer = http.infer("decide", tensors(tritonclient.http, "left", "ß"))
        assert answer.as_numpy("text").tolist() == "ß".encode()
        assert answer.as_numpy("order").tolist() == [1, 0]
        grpc = tritonclient.grpc.InferenceServerClient(running.addresses.grpc)
        answer = grpc.infer("decide", tensors(tritonclient.grpc, "left", "right", "stop"))
        assert answer.as_numpy("text").tolist() == b"stop"
        assert answer.as_numpy("order").tolist() == [2, 1, 0]


def test_a_call_that_fails_says_why_and_harms_no_other(decide: Model) -> None:
    with served(decide) as running:
        client = tritonclient.http.InferenceServerClient(running.addresses.url.removeprefix("http://"))
        with pytest.raises(
            tritonclient.http.InferenceServerException, match=r"ValueError: there is nothing .*line 2\d"
        ):
            client.infer("decide", tensors(tritonclient.http, "raise"))
        with pytest.raises(tritonclient.http.InferenceServerException, match="did not survive this call, twice"):
            client.infer("decide", tensors(tritonclient.http, "crash"))
        with pytest.raises(
            tritonclient.http.InferenceServerException, match="passed its deadline while it was computed"
        ):
            client.infer("decide", tensors(tritonclient.http, "hang"), timeout=200_000)
        answer = client.infer("decide", tensors(tritonclient.http, "left"))
        assert answer.as_numpy("text").tolist() == b"left"


@pytest.mark.parametrize("spares", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_call_whose_worker_is_killed_is_computed_again(decide: Model, tmp_path: Path, spares: int) -> None:
    (planned,) = plan_models([decide], "auto", 2)

    async def main() -> None:
        graph, plan = planned.graph, planned.plan
        async with LocalDeployment({"decide": (graph, plan)}, Settings(http="", spares=spares)) as deployment:
            await deployment.until_warm()
            route = deployment.routes["decide"]
            victim = deployment.workers[route.plan.workers[0]].process.pid
            answers = [
                asyncio.create_task(collect(route, Call(str(n), "decide", asked("left", "wait")))) for n in range(3)
            ]
            while not (tmp_path / "begun").exists():
                await asyncio.sleep(0)
            os.kill(victim, signal.SIGKILL)
            (tmp_path / "go").touch()
            found = await asyncio.gather(*answers)
            assert [each["text"].tolist() for each in found] == [[b"wait"]] * 3
            assert route.replays == 3, "it was not killed in the midst of the calls"
            with pytest.raises(PermanentError, match="there is nothing to decide"):
                await collect(route, Call("4", "decide", asked("raise")))

    asyncio.run(main())


def test_the_function_of_the_page_is_served_as_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "functions.md").read_text()
    (tmp_path / "page.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    body = page.partition("-d '")[2].partition("'")[0].encode()
    with served(find(f"{tmp_path}/page.py:decide")) as running:
        asked = urllib.request.Request(f"{running.addresses.url}/v2/models/decide/infer", body, method="POST")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            outputs = json.load(answer)["outputs"]
    assert [(each["name"], each["data"]) for each in outputs] == [("text", ["it is right"]), ("order", [1, 2, 0])]
