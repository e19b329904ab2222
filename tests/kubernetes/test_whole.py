"""The controller with real processes in place of Pods: what is applied is served, and its status says so."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import config_of, resource  # beside this file, which is imported by its path

from synfire.kubernetes.cluster.api import Api
from synfire.kubernetes.controller import serving
from synfire.kubernetes.controller.controller import Controller, Scope
from synfire.kubernetes.controller.observed import Document, Observed, Settings
from synfire.kubernetes.manifests import gateway
from synfire.kubernetes.manifests.parts import TOKEN_FILE
from synfire.testing.fake_kubernetes import FakeKubernetes, pods_of

pytestmark = pytest.mark.slow

KEY = "key"
WITHIN_S = 120.0
SETTINGS = Settings("synfire:0.1.0", options=("--json",))


@contextmanager
def container(command: list[str], here: Mapping[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    """What a container runs, with what only a Pod has replaced by what is `here`; and the line of JSON that it says."""
    words = [here.get(each, each) for each in command[1:]]
    environment = {**os.environ, "SYNFIRE_HOME": str(folder), "SYNFIRE_API_KEY": KEY}
    process = subprocess.Popen(
        [sys.executable, "-m", "synfire", *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def command_of(stateful_set: Document) -> list[str]:
    found: list[str] = stateful_set["spec"]["template"]["spec"]["containers"][0]["command"]
    return found


@asynccontextmanager
async def controller(server: FakeKubernetes, url: str) -> AsyncIterator[None]:
    async with Api(config_of(server)) as api:
        task = asyncio.ensure_future(Controller(api, SETTINGS, Scope("default", url=url)).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def told(server: FakeKubernetes, plural: str, name: str, reason: str, type_: str = "Ready") -> Document:
    """The status of an object, once one of its conditions holds, or does not, for that reason."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            status: Document = server.get(plural, name).get("status", {})
            conditions = {each["type"]: each for each in status.get("conditions", ())}
            if conditions.get(type_, {}).get("reason") == reason:
                return status
            await asyncio.sleep(0.05)


def pipeline(name: str, inputs: Mapping[str, Any]) -> Document:
    """A chain of one step, which gives the digit."""
    steps = {"look": {"model": "digits", "inputs": inputs}, "digit": {"function": "argmax", "inputs": {"of": "look"}}}
    return resource("SynfirePipeline", name, steps=steps, outputs={"digit": "digit"})


def asked(url: str, chain: str, caller: str = "") -> Any:
    """What a chain of digits says of a dark picture."""
    shown = {"authorization": f"Bearer {KEY}", "synfire-caller": caller}
    described = httpx.get(f"{url}/v2/models/{chain}", headers=shown).json()["inputs"][0]
    shape = [1, *described["shape"][1:]]
    tensor = {"name": "picture", "shape": shape, "datatype": "FP32", "data": [0.0] * math.prod(shape)}
    answer = httpx.post(f"{url}/v2/models/{chain}/infer", json={"inputs": [tensor]}, headers=shown, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


async def shared(server: FakeKubernetes, url: str) -> None:
    """A canary gets its share of the model's calls, is compared, and gives it back before it goes."""
    spec = server.get("synfiremodels", "digits")["spec"]
    sides = [{"model": "canary", "percent": 50}]
    server.put(resource("SynfireModel", "digits", **spec, traffic={"sides": sides}))
    await told(server, "synfiremodels", "digits", "NoModel", "Traffic")
    server.put(resource("SynfireModel", "canary", source="svgg-digits"))
    await told(server, "synfiremodels", "digits", "Shared", "Traffic")
    for _ in range(12):
        asked(url, "chain")
    async with asyncio.timeout(WITHIN_S):
        while sum(each["calls"] for each in server.get("synfiremodels", "digits")["status"]["traffic"]) < 12:
            await asyncio.sleep(0.05)
    server.delete("synfiremodels", "canary")
    await told(server, "synfiremodels", "digits", "NoModel", "Traffic")
    asked(url, "chain")


def test_what_is_applied_is_served_by_real_workers(tmp_path: Path) -> None:
    async def story(stack: ExitStack) -> None:
        server = stack.enter_context(FakeKubernetes().running())
        (tmp_path / "token").write_text("t" * 64)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "synfire-keys", "namespace": "default"}}
        server.put({**secret, "stringData": {"api-key": KEY, "join-token": "t" * 64}})
        here = {"8000": "0", "8001": "0", "0.0.0.0:7000": "127.0.0.1:0", TOKEN_FILE: str(tmp_path / "token")}
        described = serving.description(Observed("default", SETTINGS, ""))
        running = stack.enter_context(container(gateway.command(described), here, tmp_path / "gateway"))
        url = running["url"].replace("0.0.0.0", "127.0.0.1")
        async with controller(server, url):
            server.put(resource("SynfirePool", "hosts", count=2, memory="512Mi"))
            server.put(resource("SynfireModel", "digits", source="svgg-digits", granularity="block", workers=2))
            server.put(resource("SynfireModel", "wrong", source="svg-digits"))
            server.put(pipeline("chain", {"input": "request.picture"}))
            server.put(pipeline("misfit", {"input": "request.picture", "more": {"value": 1}}))
            status = await told(server, "synfirepipelines", "chain", "ModelsNotReady")
            assert "digits" in status["conditions"][1]["message"]
            status = await told(server, "synfiremodels", "digits", "Waiting")
            assert status["conditions"][1]["message"]
            (workers,) = (each for each in server.all("statefulsets") if each["metadata"]["name"] == "synfire-hosts")
            for pod in pods_of(workers):
                server.put(pod)
                name = pod["metadata"]["name"]
                here |= {"synfire-join:7000": running["join"]["address"], "$(POD_NAME)": name, "$(NODE_NAME)": name}
                here |= {"$(POD_IP)": "127.0.0.1", "$(JOINS_AS)": "host", "7001": "0", "0.0.0.0:8000": "127.0.0.1:0"}
                stack.enter_context(container([*command_of(workers), "--json"], here, tmp_path / name))
            status = await told(server, "synfiremodels", "digits", "Served")
            assert {each["worker"] for each in status["stages"]} == {"synfire-hosts-0", "synfire-hosts-1"}
            assert (status["replicas"], status["replicasReady"], status["profile"]) == (1, 1, "cpu")
            shown = {"authorization": f"Bearer {KEY}"}
            await told(server, "synfirepipelines", "chain", "Served")
            misfit = await told(server, "synfirepipelines", "misfit", "InvalidChain")
            assert "is given ['more']" in misfit["conditions"][0]["message"]
            assert asked(url, "chain") == asked(url, "chain", "somebody else")
            await shared(server, url)
            metadata = httpx.get(f"{url}/v2/models/digits", headers=shown).json()
            assert metadata["name"] == "digits"
            ends = server.get("endpoints", status["stages"][0]["service"])["subsets"][0]
            port = ends["ports"][0]["port"]
            stage = httpx.get(f"http://127.0.0.1:{port}{status['stages'][0]['path']}", headers=shown)
            assert stage.status_code == 200, stage.text
            status = await told(server, "synfiremodels", "wrong", "LoadFailed")
            assert "svg-digits" in status["conditions"][1]["message"]
            server.delete("synfiremodels", "digits")
            async with asyncio.timeout(WITHIN_S):
                while [each for each in server.all("synfiremodels") if each["metadata"]["name"] == "digits"]:
                    await asyncio.sleep(0.05)
            assert httpx.get(f"{url}/v2/models/digits", headers=shown).status_code == 404

    with ExitStack() as stack:
        asyncio.run(story(stack))
