"""Chains over HTTP, with real processes: asked for before their models are, held, served by every gateway, kept, and given up."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from joining import TOKEN, deployment, joined, worker
from served import import_tiny, tiny

from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.testing.callers import until
from synfire.zoo import sample

pytestmark = pytest.mark.slow

CHAIN = {
    "description": "what digit it is",
    "steps": {
        "look": {"model": "net", "inputs": {"x": "request.picture"}},
        "place": {"function": "argmax", "inputs": {"scores": "look"}},
    },
    "outputs": {"digit": "place", "scores": "look.y"},
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        monkeypatch.setenv("SYNFIRE_JOIN_TOKEN", TOKEN)
        import_tiny(Path(folder))
        yield Path(folder)


def asked(url: str, timeout_s: float = 60.0, chain: str = "digit") -> httpx.Response:
    picture = sample(tiny())["x"]
    tensor = {"name": "picture", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": picture.ravel().tolist()}
    body = {"inputs": [tensor], "parameters": {"timeout": int(timeout_s * 1e6)}}
    return httpx.post(f"{url}/v2/models/{chain}/infer", json=body, timeout=timeout_s + 30)


def digit_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["data"] for each in answer.json()["outputs"]}["digit"]


def test_a_chain_is_asked_for_before_its_model_and_answers_all_calls_until_it_is_given_up(
    home: Path, run: Callable[..., Any]
) -> None:
    expected = [int(run_here(tiny(), sample(tiny()))["y"][0].argmax())]
    with (
        deployment("--gateways", "2") as (url, door),
        httpx.Client(base_url=f"{url}/api/deployment", timeout=60) as client,
        ThreadPoolExecutor() as callers,
    ):

        def now() -> tuple[str, str]:
            told = client.get("chains/digit").json()
            return told["status"], told["reason"]

        assert client.put("chains/digit", json=CHAIN).status_code == 202
        assert client.put("chains/digit", json=CHAIN).status_code == 200
        assert now() == ("waiting", "it waits for model 'net', which nobody has asked for yet")
        ready = httpx.get(f"{url}/v2/models/digit/ready")
        assert (ready.status_code, ready.json()["error"]) == (503, now()[1])
        assert httpx.get(f"{url}/v2/models/digit").status_code == 503
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        late = asked(url, 0.5)
        assert (late.status_code, "held until its deadline" in late.text) == (503, True)
        until(lambda: "it waits for net" in run("ps").out)
        held = [callers.submit(asked, url) for _ in range(4)]
        assert client.put("models/net", json={"source": "tiny"}).status_code == 202
        until(lambda: "model 'net', which a step of it calls" in now()[1])
        assert httpx.get(f"{url}/v2/models/digit/ready").status_code == 503
        assert not any(each.done() for each in held)
        with worker(door, "a") as first:
            joined(first)
            assert [digit_of(each.result()) for each in held] == [expected] * 4
            assert now() == ("served", "")
            assert httpx.get(f"{url}/v2/models/digit/ready").status_code == 200
            assert client.get("chains").json()[0]["models"] == ["net"]
            for body, words in (
                ({**CHAIN, "outputs": {"digit": "plaice"}}, "plaice"),
                ({**CHAIN, "models": {"net": "../tiny"}}, "no path"),
                ({**CHAIN, "models": {"net": "other.toml"}}, "a chain's file"),
                ({**CHAIN, "name": "other"}, "leave its `name` out"),
            ):
                refused = client.put("chains/digit", json=body)
                assert (refused.status_code, words in refused.json()["error"]) == (400, True), refused.text
            assert client.put("models/digit", json={"source": "tiny"}).status_code in (400, 501)
            assert client.put("chains/net", json=CHAIN).status_code == 400
            assert client.delete("models/net").status_code == 200
            until(lambda: now()[0] == "waiting" and "it waits for" in now()[1])
            again = callers.submit(asked, url)
            assert client.put("models/net", json={"source": "tiny"}).status_code == 202
            assert digit_of(again.result()) == expected
            for name in ("controller", "gateway-0", "gateway-1"):
                role = next(each for each in runs.running()[0].roles if each.name == name)
                os.kill(role.pid, signal.SIGKILL)
                assert [digit_of(asked(url)) for _ in range(10)] == [expected] * 10
                until(lambda name=name, before=role.pid: pid_of(name) not in (before, 0))  # type: ignore[misc]
            until(lambda: client.put("chains/digit", json=CHAIN).status_code == 200)
            assert client.delete("chains/digit").status_code == 200
            assert asked(url).status_code == 404
            assert (client.get("chains").json(), client.delete("chains/digit").status_code) == ([], 404)
            assert asked(url, chain="net").status_code == 400  # it calls its input otherwise


def pid_of(name: str) -> int:
    """The process that is it now; 0 while there is none that lives."""
    return next((each.pid for each in runs.running()[0].roles if each.name == name and each.alive), 0)


def test_a_chain_brings_its_models_and_takes_them_along(home: Path) -> None:
    with (
        deployment() as (url, door),
        httpx.Client(base_url=f"{url}/api/deployment") as client,
        worker(door, "a") as one,
    ):
        joined(one)
        assert client.put("chains/digit", json={**CHAIN, "models": {"net": "tiny"}}).status_code == 202
        digit_of(asked(url))
        assert [each["name"] for each in client.get("models").json()] == ["net"]
        assert client.delete("chains/digit").status_code == 200
        until(lambda: client.get("models").json() == [])
