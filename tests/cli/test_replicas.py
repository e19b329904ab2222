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
from synfire.cli.replicas import copied, copies_of, replicated
from synfire.formats.bundle import write_bundle
from synfire.plan.plan import IDLE_S
from synfire.testing.callers import Callers, until
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


def test_stages_are_named_with_their_models() -> None:
    dotted = [*MODELS, Model("a.b", tiny(), "here")]
    copies = copies_of(dotted, ["a=2", "a.fc1=3", "a.b.fc1..lif1=2..5", "b.x=4", "a.b.fc2=0..2@1m30s", "a.b.rate=0..1"])
    assert copies.models == {"a": 2}
    assert copies.stages == {
        "a": {"fc1": (3, 3, IDLE_S)},
        "a.b": {"fc1..lif1": (2, 5, IDLE_S), "fc2": (0, 2, 90.0), "rate": (0, 1, IDLE_S)},
        "b": {"x": (4, 4, IDLE_S)},
    }
    found = copies.of_stages(["a#1", "a#2", "b"])
    assert found == {"a#1": copies.stages["a"], "a#2": copies.stages["a"], "b": copies.stages["b"]}
    assert copied(dotted, ["b.x=4", "a.b=2"]) == {"a.b", "b", "a"}
    with pytest.raises(UserError, match=r"says how many a\.fc1 twice"):
        copies_of(MODELS, ["a.fc1=2", "a.fc1=2"])
    with pytest.raises(UnknownName, match=r"no model named 'c\.fc1'; known: a, b"):
        copies_of(MODELS, ["c.fc1=2"])
    for wrong in ("0", "3..2", "1..", "..2", "1..100", "0..0", "1..2@5m", "0..2@"):
        with pytest.raises(UserError, match=r"is not MODEL\.STAGE=N, or MODEL\.STAGE=N\.\.M"):
            copies_of(MODELS, [f"a.fc1={wrong}"])
    with pytest.raises(UserError, match=r"would never sleep; write 1\.\.2"):
        copies_of(MODELS, ["a.fc1=0..2@-1"])
    with pytest.raises(UserError, match="'soon'"):
        copies_of(MODELS, ["a.fc1=0..2@soon"])


STAGE = ["--granularity", "operator", "--apart", "--workers", "4"]


def test_a_stage_in_more_replicas_than_workers_is_refused(run: Callable, bundle: Path) -> None:
    refused = run("serve", str(bundle), *STAGE, "--replicas", "tiny.fc2=5")
    assert refused.code == 2
    assert "stage tiny.fc2 is wanted in 5 replicas" in refused.err
    unknown = run("serve", str(bundle), "--replicas", "tiny.fc2=2")
    assert unknown.code == 2
    assert "operator fc2 of tiny is in stage encoder..rate" in unknown.err


def homes(http: httpx.Client, operator: str = "fc2") -> list[str]:
    """The workers of the replicas of a stage."""
    (plan,) = http.get("/api/plans").json()
    return [each["worker"] for each in plan["stages"] if each["operators"] == [operator]]


def jobs(http: httpx.Client, worker: str) -> int:
    """How often a worker has computed the stage."""
    told = {each["name"]: each["stages"] for each in http.get("/api/workers").json()}
    return sum(each["jobs"] for each in told.get(worker, ()) if each["stage"].startswith("fc2"))


@pytest.mark.slow
@pytest.mark.parametrize("spares", ["0", "1"])
@pytest.mark.parametrize("place", [0, 1])
def test_no_call_is_lost_when_a_stages_replica_dies_under_load(bundle: Path, spares: str, place: int) -> None:
    arguments = [str(bundle), *STAGE, "--replicas", "tiny.fc2=2", "--spares", spares]
    with serving(arguments) as (_, line), httpx.Client(base_url=line["url"], timeout=30) as http:
        before = homes(http)
        assert len(set(before)) == 2
        (deployment,) = runs.running()
        (victim,) = [each for each in deployment.workers if each.name == before[place]]
        with Callers(line["url"], "tiny", sample(tiny()), run_here(tiny(), sample(tiny())), 4) as callers:
            until(lambda: all(jobs(http, name) for name in before))
            os.kill(victim.pid, signal.SIGKILL)
            callers.go_on(50)
            until(lambda: len(set(homes(http))) == 2 and before[place] not in homes(http))
            callers.go_on(50)
            assert http.get("/v2/models/tiny/ready").status_code == 200
            until(lambda: all(jobs(http, name) for name in homes(http)))
        callers.check(f"a replica killed, {spares} spares")
        causes = [(each["cause"]["kind"], each["outcome"]) for each in http.get("/api/events").json()]
        assert causes[0][1] == "recovered"
        assert causes[1:] == ([] if spares == "1" else [("scale", "moved")])


@pytest.mark.slow
def test_a_stage_gets_as_many_replicas_as_its_work_takes(tmp_path: Path) -> None:
    large = tiny(hidden=3000)
    write_bundle(large, tmp_path / "tiny")
    arguments = [str(tmp_path / "tiny"), *STAGE[:3], "--workers", "2", "--replicas", "tiny.fc2=1..2"]
    with serving(arguments) as (_, line), httpx.Client(base_url=line["url"], timeout=30) as http:
        assert len(homes(http)) == 1
        with Callers(line["url"], "tiny", sample(large), run_here(large, sample(large)), 6) as callers:
            until(lambda: len(set(homes(http))) == 2)
            until(lambda: all(jobs(http, name) for name in homes(http)))
            callers.go_on(50)
        callers.check("a stage in one place, then in two")
        assert [each["cause"]["kind"] for each in http.get("/api/events").json()] == ["scale"]


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
