"""One stage of a served model sleeps, in real processes: its worker hosts nothing, the others stay, and the next call wakes it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from served import serving, tiny

from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.formats.bundle import write_bundle
from synfire.testing.callers import until
from synfire.wire.client import Client
from synfire.zoo import sample

pytestmark = pytest.mark.slow

ARGUMENTS = ["--granularity", "operator", "--apart", "--workers", "4", "--replicas", "tiny.fc2=0..1@0.5s"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sf")
    monkeypatch.setenv("SYNFIRE_HOME", str(folder))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    write_bundle(tiny(), tmp_path / "tiny")
    return str(tmp_path / "tiny")


def hosting(http: httpx.Client, stage: str) -> list[str]:
    """The workers that say themselves that they host a stage."""
    told = http.get("/api/workers").json()
    return [each["name"] for each in told if any(one["stage"] == stage for one in each["stages"])]


def info(http: httpx.Client) -> dict[str, str]:
    (told,) = http.get("/api/models").json()
    return dict(told)


def asleep(http: httpx.Client) -> bool:
    return info(http)["status"] == "asleep" and not hosting(http, "fc2")


def test_a_stage_gives_up_its_worker_and_a_call_wakes_it(bundle: str) -> None:
    inputs = sample(tiny())
    wanted = run_here(tiny(), inputs)["y"]
    with serving([bundle, *ARGUMENTS]) as (_, line), httpx.Client(base_url=line["url"], timeout=30) as http:
        before = {each["name"]: each["stages"] for each in http.get("/api/workers").json()}
        with Client(line["url"]) as client:
            for _ in range(3):
                until(lambda: asleep(http))
                assert "fc2 left its worker" in info(http)["reason"]
                assert http.get("/v2/models/tiny/ready").status_code == 200
                assert hosting(http, "fc1") == [
                    name for name, told in before.items() if "fc1" in {s["stage"] for s in told}
                ]
                np.testing.assert_array_equal(client.infer("tiny", inputs).outputs["y"], wanted)
                assert hosting(http, "fc2")
        assert http.get("/api/events").json() == [], "nothing was lost"


def test_many_calls_that_find_it_asleep_are_all_answered_also_where_its_worker_has_died(bundle: str) -> None:
    inputs = sample(tiny())
    wanted = run_here(tiny(), inputs)["y"].tobytes()

    def ask(url: str) -> bytes:
        with Client(url) as client:
            return client.infer("tiny", inputs).outputs["y"].tobytes()

    with (
        serving([bundle, *ARGUMENTS]) as (_, line),
        httpx.Client(base_url=line["url"], timeout=30) as http,
        ThreadPoolExecutor(8) as threads,
    ):
        until(lambda: asleep(http))
        (plan,) = http.get("/api/plans").json()
        (home,) = [each["worker"] for each in plan["stages"] if each["name"] == "fc2"]
        (deployment,) = runs.running()
        (victim,) = [each for each in deployment.workers if each.name == home]
        os.kill(victim.pid, signal.SIGKILL)
        answers = list(threads.map(ask, [line["url"]] * 24))
    assert answers == [wanted] * 24


def test_a_session_goes_on_where_a_stage_has_slept(bundle: str) -> None:
    inputs = sample(tiny())
    with serving([bundle, *ARGUMENTS]) as (_, line), httpx.Client(base_url=line["url"], timeout=30) as http:

        def ask(session: str, n: int) -> list[float]:
            told = [
                {"name": name, "shape": list(each.shape), "datatype": "FP32", "data": each.ravel().tolist()}
                for name, each in inputs.items()
            ]
            sequence = {"sequence_id": session, "sequence_start": n == 0, "sequence_end": n == 2}
            answer = http.post("/v2/models/tiny/infer", json={"inputs": told, "parameters": sequence})
            assert answer.status_code == 200, answer.text
            found: list[float] = answer.json()["outputs"][0]["data"]
            return found

        through = [ask("through", n) for n in range(3)]
        slept = []
        for n in range(3):
            slept.append(ask("slept", n))
            until(lambda: asleep(http))
    assert slept == through
    assert through[0] != through[2], "what a session carries on is seen in its answers"
