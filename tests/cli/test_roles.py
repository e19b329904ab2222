"""The processes of a served deployment are killed one by one: who calls gets the right answer, and nothing is left behind."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from served import serving, tiny
from tritonclient.utils import InferenceServerException

from synfire.base.errors import UnknownName, UserError
from synfire.base.processes import born
from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.deploy.door import NAME, ask
from synfire.deploy.folders import folder_of
from synfire.deploy.ledger import read_ledger
from synfire.testing.callers import Callers
from synfire.wire.client import Client
from synfire.wire.messages import Load, Unload
from synfire.zoo import sample

APART = ("-g", "operator", "--apart")
WAIT_S = 60


def record() -> runs.Run:
    """What `ps` knows of the only deployment."""
    (run,) = runs.running()
    return run


def role(name: str) -> runs.RunRole:
    return next(each for each in record().roles if each.name == name)


def worker(name: str) -> runs.RunWorker:
    return next(each for each in record().workers if each.name == name)


@contextmanager
def killed(pid: int) -> Iterator[None]:
    """Kill the process, and see that it has ended, when the block begins."""
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([descriptor], [], [], WAIT_S)[0]
    os.close(descriptor)
    yield


def until(holds: Callable[[], bool]) -> None:
    """Look again and again; the test's own time limit ends what never comes about.

    The pause leaves the processor to those who are waited for.
    """
    pause = threading.Event()
    while not holds():
        pause.wait(0.005)


def calling(url: str, count: int = 2) -> Callers:
    """So many callers of the model `tiny`."""
    return Callers(url, "tiny", sample(tiny()), run_here(tiny(), sample(tiny())), count)


def metric(url: str, name: str) -> float:
    """The sum of all series whose names begin so."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def replays(url: str) -> float:
    return metric(url, "synfire_replays_total")


def recoveries(url: str, cause: str) -> float:
    return metric(url, f'synfire_recoveries_total{{cause="{cause}",outcome="recovered"}}')


def worker_losses(url: str) -> float:
    """Workers that were killed: either their end or the end of their links is noticed first."""
    return recoveries(url, "exit") + recoveries(url, "broken link")


def events_of(run: Callable, name: str) -> list[dict[str, Any]]:
    """What is on record of a process."""
    return [each for each in run("events", "--json").json["events"] if each["worker"] == name]


@pytest.mark.slow
def test_a_killed_controller_is_back_and_disturbs_nobody(bundle: Path, run: Callable) -> None:
    with serving([str(bundle), *APART, "--spares", "1"]) as (_, ready), calling(ready["url"]) as callers:
        callers.go_on()
        before = role("controller")
        with killed(before.pid):
            callers.go_on()
        until(lambda: role("controller").pid != before.pid)
        workers = {each.name: each.pid for each in record().workers}
        with killed(workers["worker-0"]):
            callers.go_on()
        until(lambda: "worker-0" not in {each.name for each in record().workers})
        callers.go_on()
    assert (callers.wrong, callers.errors) == (0, [])
    assert [each["outcome"] for each in events_of(run, "worker-0")] == ["recovered"]
    (died,) = events_of(run, "controller")
    assert died["cause"]["kind"] == "controller lost"
    assert f"process {before.pid} was killed by SIGKILL; process " in died["cause"]["detail"]
    assert [step["name"] for step in died["steps"]] == ["detect", "adopt", "verify"]
    assert (died["outcome"], died["models"]) == ("recovered", [])


@pytest.mark.slow
def test_nothing_is_replayed_for_a_new_controller(bundle: Path) -> None:
    with serving([str(bundle), *APART]) as (_, ready), calling(ready["url"]) as callers:
        before = role("controller")
        with killed(before.pid):
            until(lambda: role("controller").pid != before.pid)
        identity = record().deployment
        epochs = {name: model.epoch for name, model in read_ledger(identity).state.models.items()}
        callers.go_on(50)
        assert replays(ready["url"]) == 0
        assert epochs == {"tiny": 0}
    assert (callers.wrong, callers.errors) == (0, [])


@pytest.mark.slow
def test_a_worker_that_dies_while_the_controller_is_away_is_made_good(bundle: Path, run: Callable) -> None:
    with serving([str(bundle), *APART, "--spares", "1"]) as (_, ready), calling(ready["url"]) as callers:
        callers.go_on()
        lost = worker("worker-1")
        with killed(role("controller").pid), killed(lost.pid):
            callers.go_on()
        assert replays(ready["url"]) > 0
    assert (callers.wrong, callers.errors) == (0, [])
    (event,) = events_of(run, "worker-1")
    assert event["outcome"] == "recovered"
    assert event["cause"]["kind"] in ("exit", "broken link")  # whichever is heard of first


@pytest.mark.slow
def test_metrics_and_the_api_go_on_counting_what_is_on_record_when_the_controller_and_a_gateway_die(
    bundle: Path, run: Callable
) -> None:
    with serving([str(bundle), *APART, "--spares", "1"]) as (_, ready):
        url, deployment = ready["url"], record().deployment
        with killed(worker("worker-0").pid):
            until(lambda: worker_losses(url) == 1)
        with killed(role("controller").pid):
            until(lambda: recoveries(url, "controller lost") == 1)
        assert worker_losses(url) == 1
        with killed(role("gateway-0").pid):
            until(lambda: bool(events_of(run, "gateway-0")))
        until(lambda: recoveries(url, "gateway lost") == 1)
        assert [worker_losses(url), recoveries(url, "controller lost")] == [1, 1]
        told = httpx.get(f"{url}/api/events").json()
    assert [each["worker"] for each in told] == ["worker-0", "controller", "gateway-0"]
    assert {each["deployment"] for each in told} == {deployment}
    assert "gateway lost: gateway-0 (process" in run("events", "--last", "1").out


@pytest.mark.slow
def test_a_process_that_dies_says_so_in_one_sentence(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving([str(bundle), *APART]):
        pid = role("gateway-0").pid
        with killed(pid):
            until(lambda: role("gateway-0").pid != pid)
    assert f"gateway-0 (process {pid}) was killed by SIGKILL; it is started again\n" in capfd.readouterr().err


@pytest.mark.slow
def test_of_two_gateways_one_is_killed_and_the_other_answers_all(bundle: Path) -> None:
    with serving([str(bundle), *APART, "--gateways", "2"]) as (_, ready):
        one, other = role("gateway-0"), role("gateway-1")
        assert len({one.url, other.url, ready["url"]}) == 3
        workers = {each.name: each.pid for each in record().workers}
        with calling(one.url, 1) as unlucky, calling(other.url, 1) as lucky:
            unlucky.go_on()
            with killed(one.pid):
                lucky.go_on()
                until(lambda: bool(unlucky.errors))
            with Client(ready["url"]) as client:
                client.infer("tiny", sample(tiny()))
            until(lambda: role("gateway-0").pid != one.pid)
            with Client(one.url) as client:
                client.infer("tiny", sample(tiny()))
        assert (lucky.errors, lucky.wrong, unlucky.wrong, len(unlucky.errors)) == ([], 0, 0, 1)
        assert {each.name: each.pid for each in record().workers} == workers


def session_call(url: str, name: str, **parameters: Any) -> httpx.Response:
    inputs = [{"name": "x", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [3.0] * 64}]  # spikes come late
    body = {"inputs": inputs, "parameters": {"sequence_id": name, **parameters}}
    return httpx.post(f"{url}/v2/models/tiny/infer", json=body, timeout=WAIT_S)


@pytest.mark.slow
def test_a_session_goes_on_at_whichever_gateway_its_calls_arrive(bundle: Path) -> None:
    with serving([str(bundle), *APART, "--gateways", "2"]):
        urls = [role("gateway-0").url, role("gateway-1").url]
        for name in ("one", "two", "three", "four"):
            alternating = [session_call(urls[i % 2], name, sequence_start=not i) for i in range(4)]
            alone = [session_call(urls[0], f"{name}-alone", sequence_start=not i) for i in range(4)]
            answers = [[each.json()["outputs"][0]["data"] for each in calls] for calls in (alternating, alone)]
            assert answers[0] == answers[1]
            assert answers[0][0] != answers[0][1]  # a session's state is carried on
        streamed = [
            httpx.post(
                f"{url}/v2/models/tiny/infer_stream",
                json={"inputs": [{"name": "x", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [3.0] * 64}],
                      "parameters": {"sequence_id": "streamed", "sequence_start": True}},
            ).text
            for url in urls
        ]  # fmt: skip
        assert [text.count("event: part") for text in streamed] == [3, 3]
        unknown = [session_call(url, "unknown") for url in urls]
        assert [each.status_code for each in unknown] == [400, 400]
        assert all("sequence_start=true" in each.json()["error"] for each in unknown)


@pytest.mark.slow
def test_a_session_whose_gateway_is_killed_is_lost_with_a_clear_error_and_begins_anew(bundle: Path) -> None:
    with serving([str(bundle), *APART, "--gateways", "2"]) as (_, ready):
        urls = {name: role(name).url for name in ("gateway-0", "gateway-1")}
        names = [f"s{i}" for i in range(8)]
        first = {name: session_call(ready["url"], name, sequence_start=True).json()["outputs"] for name in names}
        with killed(role("gateway-0").pid):
            again = {name: session_call(urls["gateway-1"], name) for name in names}
        kept = [name for name in names if again[name].status_code == 200]
        assert 0 < len(kept) < len(names)  # the other gateway's, which go on
        for name in set(names) - set(kept):
            assert "begin it with sequence_start=true" in again[name].json()["error"]
            begun = session_call(urls["gateway-1"], name, sequence_start=True)
            assert begun.json()["outputs"] == first[name]


@pytest.mark.slow
def test_a_killed_supervisor_takes_all_with_it(bundle: Path, home: Path) -> None:
    options = ["--gateways", "2", "--spares", "1"]
    with serving([str(bundle), *APART, *options]) as (process, ready), calling(ready["url"], 4) as callers:
        callers.go_on()
        pids = [each.pid for each in (*record().roles, *record().workers)]
        assert len(pids) == 6
        ends = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        for descriptor in ends:
            assert select.select([descriptor], [], [], WAIT_S)[0], "somebody outlived the supervisor"
            os.close(descriptor)
        assert [each for each in home.rglob("*") if each.is_socket()] == []
        assert runs.running() == ()
        assert list((home / "run").iterdir()) == []
    with pytest.raises(UnknownName):
        read_ledger("any")


@pytest.mark.slow
def test_models_are_unloaded_and_loaded_at_the_door(bundle: Path) -> None:
    with serving([str(bundle), *APART]) as (_, ready):
        deployment = record().deployment
        door = f"unix:{folder_of(deployment) / NAME}"
        (wanted,) = read_ledger(deployment).models
        assert ask(door, deployment, Unload("tiny"), WAIT_S) == "tiny is served no longer"
        assert httpx.get(f"{ready['url']}/v2/models/tiny").status_code == 404
        with pytest.raises(UnknownName, match="no served model named 'tiny'"):
            ask(door, deployment, Unload("tiny"), WAIT_S)
        load = Load("tiny", wanted.version, wanted.source, wanted.digest, wanted.plan)
        assert ask(door, deployment, load, WAIT_S) == "tiny is served"
        with pytest.raises(UserError, match="unload it first"):
            ask(door, deployment, load, WAIT_S)
        with Client(ready["url"]) as client:
            served = client.infer("tiny", sample(tiny())).outputs["y"]
        np.testing.assert_array_equal(served, run_here(tiny(), sample(tiny()))["y"])
        with pytest.raises(UserError, match="check the address"):
            ask(door, "another", load, WAIT_S)


@pytest.mark.slow
def test_a_model_is_unloaded_and_loaded_by_the_protocol_at_every_gateway(bundle: Path) -> None:
    with serving([str(bundle), *APART, "--gateways", "2"]):
        urls = [role("gateway-0").url, role("gateway-1").url]
        one = httpclient.InferenceServerClient(urls[0].removeprefix("http://"))
        one.unload_model("tiny")
        assert [httpx.get(f"{url}/v2/models/tiny").status_code for url in urls] == [404, 404]
        with pytest.raises(InferenceServerException, match="no unloaded model named 'other'; known: tiny"):
            one.load_model("other")
        before = role("controller")
        with killed(before.pid):  # what was unloaded is remembered
            until(lambda: role("controller").pid != before.pid)
        with grpcclient.InferenceServerClient(record().grpc) as two:
            until(lambda: not httpx.post(f"{urls[0]}/v2/repository/models/tiny/load").is_error)
            two.load_model("tiny")  # it is there already
        for url in urls:
            with Client(url) as client:
                served = client.infer("tiny", sample(tiny())).outputs["y"]
            np.testing.assert_array_equal(served, run_here(tiny(), sample(tiny()))["y"])
        one.close()


@pytest.mark.slow
def test_all_end_with_the_deployment(bundle: Path, home: Path, run: Callable) -> None:
    with serving([str(bundle), "--gateways", "2"]) as (process, _):
        pids = [each.pid for each in (*record().roles, *record().workers)]
        table = run("ps").out
        assert all(name in table for name in ("controller", "gateway-0", "gateway-1", "worker-0"))
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        assert [born(pid) for pid in pids] == [""] * len(pids)
        assert list((home / "run").iterdir()) == []
