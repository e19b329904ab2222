"""`serve --replicas`: what is refused, and a worker that dies under load."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import numpy as np
import pytest
from served import serving, tiny

from synfire.base.errors import UnknownName, UserError
from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.cli.replicas import replicated
from synfire.wire.client import Client
from synfire.zoo import Model, sample

MODELS = [Model("a", tiny(), "here"), Model("b", tiny(1), "here")]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([], ["a", "b"]),
        (["2"], ["a#1", "b#1", "a#2", "b#2"]),
        (["b=3"], ["a", "b#1", "b#2", "b#3"]),
        (["2", "a=1"], ["a", "b#1", "b#2"]),
    ],
)
def test_models_are_replicated_as_often_as_is_said(given: list[str], names: list[str]) -> None:
    assert [each.name for each in replicated(MODELS, given)] == names


def test_what_is_no_number_of_replicas_is_refused() -> None:
    with pytest.raises(UserError, match=r"--replicas many is not \[MODEL=\]N, such as a=2"):
        replicated(MODELS, ["many"])
    with pytest.raises(UserError, match="N is from 1 to 99"):
        replicated(MODELS, ["0"])
    with pytest.raises(UnknownName, match="no model named 'c'; known: a, b"):
        replicated(MODELS, ["c=2"])
    with pytest.raises(UserError, match="says how many a twice"):
        replicated(MODELS, ["a=2", "a=3"])


@pytest.mark.slow
def test_no_call_is_lost_when_a_replicas_worker_dies_under_load(run: Callable, bundle: Path) -> None:
    inputs, ended = sample(tiny()), Event()
    wanted = run_here(tiny(), inputs)["y"]

    def ask(url: str) -> int:
        answered = 0
        with Client(url) as client:
            while not ended.is_set():
                np.testing.assert_array_equal(client.infer("tiny", inputs).outputs["y"], wanted)
                answered += 1
        return answered

    with (
        serving([str(bundle), "--replicas", "2", "--priority", "tiny=3"]) as (_, line),
        ThreadPoolExecutor(3) as threads,
    ):
        asking = [threads.submit(ask, line["url"]) for _ in range(3)]
        (deployment,) = runs.running()
        assert [(each.name, each.priority) for each in deployment.models] == [("tiny#1", 3), ("tiny#2", 3)]
        victim = deployment.models[0].plan["stages"][0]["worker"]
        (worker,) = [each for each in deployment.workers if each.name == victim]
        os.kill(worker.pid, signal.SIGKILL)
        with httpx.Client(base_url=line["url"]) as http:
            while not http.get("/api/events").json():
                assert http.get("/v2/models/tiny/ready").status_code == 200
            (model,) = http.get("/api/models").json()
            plans = http.get("/api/plans").json()
        ended.set()
        assert all(each.result() > 0 for each in asking)
    assert (model["model"], len(model["workers"]), len(plans)) == ("tiny", 2, 2)
