"""The models of the store, served by `synfire serve` without any other: loaded when they are called, unloaded when nobody does."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import serving

from synfire.cli import runs
from synfire.testing.language_models import write_tiny_language_model

pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
pytestmark = pytest.mark.slow

WAIT_S = 60


@pytest.fixture(autouse=True)
def models(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three models in the store, which differ in their names alone."""
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    file = write_tiny_language_model(tmp_path / "tiny.gguf")
    for name in ("one", "two:q8", "org/three"):
        run("pull", str(file), "--name", name)


@contextmanager
def store(*arguments: str) -> Iterator[httpx.Client]:
    with (
        serving(["--gateways", "1", *arguments]) as (_, line),
        httpx.Client(base_url=line["url"], timeout=WAIT_S, trust_env=False) as client,
    ):
        yield client


def ask(client: httpx.Client, model: str, tokens: int = 8) -> str:
    body = {"model": model, "prompt": "the king", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])


def loaded() -> list[str]:
    (found,) = runs.running()
    return [each.name for each in found.models]


def reserved() -> int:
    """The memory that is set aside for the only model that is loaded."""
    (model,) = runs.running()[0].models
    return int(model.plan["stages"][0]["memory_bytes"])


def until(holds: Callable[[], bool]) -> None:
    """Look again and again; the record of a deployment is a file that it writes."""
    given = threading.Event()
    for _ in range(WAIT_S * 20):
        if holds():
            return
        given.wait(0.05)
    raise AssertionError(f"that did not come about: {loaded()} are loaded")


def test_models_are_listed_loaded_when_they_are_called_and_unloaded_when_nobody_does() -> None:
    with store("--keep-alive", "1s") as client:
        assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["one", "org/three", "two:q8"]
        assert client.get("/v1/models/two:q8").json()["id"] == "two:q8"
        assert (loaded(), runs.running()[0].workers) == ([], ())
        text = ask(client, "one:latest")
        assert ask(client, "org/three") == text
        until(lambda: loaded() == [])
        until(lambda: runs.running()[0].workers == ())
        assert ask(client, "one") == text
        missing = client.post("/v1/completions", json={"model": "four", "prompt": "x"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        assert "one, org/three, two:q8" in missing.json()["error"]["message"]


def test_one_at_a_time_all_calls_are_answered_in_whatever_order_they_come() -> None:
    with (
        store("--most-models", "1", "--keep-alive", "-1", "--parallel", "2") as client,
        ThreadPoolExecutor(9) as callers,
    ):
        wanted = ["one", "two:q8", "org/three"] * 3
        texts = list(callers.map(lambda name: ask(client, name), wanted))
        assert len(set(texts)) == 1
        assert len(loaded()) == 1
        few = reserved()
    with store() as client:
        ask(client, "one")
        until(lambda: loaded() == ["one"])
        assert reserved() > few


def test_models_that_are_called_together_are_loaded_together_and_a_name_shares_them() -> None:
    with (
        store("--traffic", "all one=50 two:q8=50", "--priority", "one=3") as client,
        ThreadPoolExecutor(3) as callers,
    ):
        assert len(set(callers.map(lambda name: ask(client, name), ("one", "two:q8", "org/three")))) == 1
        until(lambda: sorted(loaded()) == ["one", "org/three", "two:q8"])
        for name in ("one", "two:q8"):
            client.post("/api/generate", json={"model": name, "keep_alive": 0})
        until(lambda: loaded() == ["org/three"])
        for _ in range(12):
            ask(client, "all")
        sides = client.get("/api/traffic/all").json()["sides"]
        assert {each["model"]: each["calls"]["ok"] > 0 for each in sides} == {"one": True, "two:q8": True}
        until(lambda: {"one", "two:q8"} < set(loaded()))
        assert {each.name: each.priority for each in runs.running()[0].models}["one"] == 3


def test_a_model_of_the_store_above_its_budget_is_refused_before_it_is_loaded() -> None:
    with store("--memory-model", "10kB") as client:
        answer = client.post("/v1/completions", json={"model": "one", "prompt": "x"})
        assert answer.status_code == 500
        assert "to run, and a model of the store may take 10 kB" in answer.json()["error"]["message"]


def test_what_does_not_fit_is_refused_before_it_is_loaded_with_both_numbers() -> None:
    with store("--memory-models", "10kB") as client:
        answer = client.post("/v1/completions", json={"model": "one", "prompt": "x"})
        assert answer.status_code == 500
        assert "to run, and all models may take 10 kB together" in answer.json()["error"]["message"]
        assert loaded() == []


def test_models_are_unloaded_by_a_controller_that_did_not_load_them() -> None:
    with store("--keep-alive", "3s") as client:
        text = ask(client, "one")
        until(lambda: loaded() == ["one"])
        (controller,) = [each for each in runs.running()[0].roles if each.name == "controller"]
        descriptor = os.pidfd_open(controller.pid)
        os.kill(controller.pid, signal.SIGKILL)
        assert select.select([descriptor], [], [], WAIT_S)[0]
        os.close(descriptor)
        assert ask(client, "one") == text
        until(lambda: loaded() == [])
        assert ask(client, "two:q8") == text


def test_a_served_model_stays_and_those_of_the_store_come_beside_it(tmp_path: Path) -> None:
    with store(f"mine={tmp_path / 'tiny.gguf'}", "--store", "--keep-alive", "5s") as client:
        text = ask(client, "mine")
        assert ask(client, "one") == text
        until(lambda: loaded() == ["mine"])
        index = {each["name"]: each["state"] for each in client.post("/v2/repository/index").json()}
        assert index["mine"] == "READY"
        assert index["two:q8"] == "UNAVAILABLE"
        repository: Any = client.post("/v2/repository/models/one:latest/load")
        assert repository.status_code == 200, repository.text
        until(lambda: "one" in loaded())
        assert client.post("/v2/repository/models/one/unload").status_code == 200
        until(lambda: loaded() == ["mine"])


def test_a_chains_step_loads_its_model_and_streams_its_text(tmp_path: Path) -> None:
    """The chain is ready before: only a call loads what it needs. A client of the protocol reads the text so far, as it forms."""
    (tmp_path / "talk.toml").write_text(
        'inputs.name = "BYTES"\n[steps.reply]\nmodel = "two:q8"\nprompt = "the {name}"\ninputs = { name = "request.name" }\n'
        'options = { max_tokens = 240, temperature = 0, ignore_eos = true }\n[outputs]\ntext = "reply"\n'
    )
    body = {"inputs": [{"name": "name", "shape": [1], "datatype": "BYTES", "data": ["king"]}]}
    with store(str(tmp_path / "talk.toml"), "--store") as client:
        assert client.get("/v2/models/talk/ready").status_code == 200
        assert loaded() == []
        whole = client.post("/v2/models/talk/infer", json=body)
        assert whole.status_code == 200, whole.text
        text = whole.json()["outputs"][0]["data"][0]
        assert text == ask(client, "two:q8", 240)
        assert loaded() == ["two:q8"]
        streamed = client.post("/v2/models/talk/infer_stream", json=body).text
    events = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line.startswith("data: ")]
    grown = [each["outputs"][0]["data"][0] for each in events]
    assert len(grown) > 1
    assert grown[-1] == text
    assert all(later.startswith(sooner) for sooner, later in pairwise(grown))


def test_limits_of_the_stores_models_are_refused_where_none_is_served(run: Callable) -> None:
    ran = run("serve", "svgg-digits", "--memory-model", "1MB", "--most-models", "2")
    assert ran.code == 2
    assert "--memory-model, --most-models is for models of the store" in " ".join(ran.err.split())
    assert "add --store" in ran.err
