from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from served import serving, tiny

from synfire.base.keys import VARIABLE
from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.formats import write_bundle
from synfire.graph.images import accepting_images
from synfire.testing.callers import until
from synfire.wire.client import Client
from synfire.zoo import sample


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a deployment of the small model, and of one that reads negatives, printed; for tests that only ask it."""
    folder = tmp_path_factory.mktemp("served")
    write_bundle(tiny(), folder / "tiny")
    write_bundle(accepting_images(tiny(), negative=True), folder / "negative")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SYNFIRE_HOME", str(folder / "home"))
        models = [str(folder / "tiny"), str(folder / "negative")]
        with serving([*models, "--granularity", "operator", "--workers", "2"]) as (process, line):
            assert line["pid"] == process.pid
            yield line


def test_serve_prints_one_line_when_ready(ready: dict[str, Any]) -> None:
    assert set(ready) == {"url", "grpc", "metrics", "pid", "workers"}
    assert [worker["name"] for worker in ready["workers"]] == ["worker-0", "worker-1"]
    assert httpx.get(ready["metrics"]).status_code == 200


def test_a_model_served_operator_by_operator_answers_as_the_uncut_one(
    run: Callable, bundle: Path, ready: dict[str, Any]
) -> None:
    with Client(ready["url"]) as client:
        served = client.infer("tiny", sample(tiny())).outputs["y"]
    np.testing.assert_array_equal(served, run_here(tiny(), sample(tiny()))["y"])
    asked = run("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json").json
    here = run("infer", str(bundle), "--digit", "5", "--json").json
    assert {**asked, "model": here["model"]} == here


def test_a_served_models_answer_has_its_labels(run: Callable, ready: dict[str, Any]) -> None:
    asked = run("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json").json
    assert asked["label"] == "abcdefghij"[int(np.argmax(asked["scores"]))]
    table = run("infer", "tiny", "--digit", "5", "--url", ready["url"]).out
    assert f"tiny says {asked['label']} (it is " in table
    assert all(f"\n{label:>5}" in table for label in "abcdefghij")


def test_a_served_model_that_reads_negatives_is_sent_one(run: Callable, tmp_path: Path, ready: dict[str, Any]) -> None:
    write_bundle(accepting_images(tiny(), negative=True), tmp_path / "negative")
    asked = run("infer", "negative", "--digit", "5", "--url", ready["url"], "--json").json
    here = run("infer", str(tmp_path / "negative"), "--digit", "5", "--json").json
    assert {**asked, "model": here["model"]} == here
    about = httpx.get(f"{ready['url']}/v2/models/negative").json()
    assert about["inputs"][0]["parameters"]["decoder"] == "ImageDecode"
    assert about["inputs"][0]["parameters"]["attributes"]["invert"] is True
    assert about["parameters"] == {"labels": list("abcdefghij")}


def test_a_bad_file_in_a_served_batch_is_named_by_its_place(ready: dict[str, Any]) -> None:
    good = sample(accepting_images(tiny()))["x"][0]
    tensor = {"name": "x", "shape": [3], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    tensor["data"] = [base64.b64encode(each).decode() for each in (good, good, b"no picture")]
    answer = httpx.post(f"{ready['url']}/v2/models/negative/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        "model 'negative': sample 2 of the batch (counted from 0): the 10 bytes received are neither"
    )


def test_a_digit_is_not_sent_where_nobody_says_how_files_are_read(run: Callable, ready: dict[str, Any]) -> None:
    doors = [worker["url"] for worker in ready["workers"]]
    (door,) = [url for url in doors if httpx.get(f"{url}/v2/models/negative.image_decode").is_success]
    ran = run("infer", "negative.image_decode", "--digit", "5", "--url", door, "--json")
    assert ran.code == 2
    assert "send a file that fits with --input FILE" in ran.json["error"]


@pytest.mark.slow
def test_ps_shows_a_deployment_and_stop_ends_it_and_its_workers(run: Callable, bundle: Path, home: Path) -> None:
    with serving([str(bundle)]) as (process, ready):
        (found,) = run("ps", "--json").json["deployments"]
        assert (found["url"], found["pid"]) == (ready["url"], process.pid)
        assert found["models"][0]["name"] == "tiny"
        assert run("stop", found["id"], "--json").json == {"stopped": [found["id"]]}
        assert process.wait(30) == 0
        assert all(runs.born(worker["pid"]) == "" for worker in ready["workers"])
        assert list((home / "run").iterdir()) == []
    assert run("ps", "--json").json == {"deployments": []}


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_events_tell_it(run: Callable, bundle: Path) -> None:
    with serving([str(bundle), "--granularity", "operator", "--apart", "--spares", "1"]) as (_, ready):
        assert [each["name"] for each in ready["workers"]] == ["spare-0", "worker-0", "worker-1"]
        asked = ("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json")
        before = run(*asked)
        killed = next(each["pid"] for each in ready["workers"] if each["name"] == "worker-0")
        os.kill(killed, signal.SIGKILL)
        after = run(*asked)
        assert (after.code, after.json) == (0, before.json)
        (found,) = run("ps", "--json").json["deployments"]
        assert killed not in {each["pid"] for each in found["workers"] if each["alive"]}
        assert "worker-0" not in {stage["worker"] for stage in found["models"][0]["plan"]["stages"]}
    (event,) = run("events", "--json").json["events"]
    assert (event["worker"], event["outcome"]) == ("worker-0", "recovered")
    assert event["cause"]["kind"] in ("exit", "broken link")  # whichever is heard of first
    assert f"worker-0 → {event['spare']}" in run("events").out


@pytest.mark.slow
def test_a_served_picture_model_takes_files_and_streams_each_step(bundle: Path) -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    body = {"inputs": [{**tensor, "data": [base64.b64encode(file.getvalue()).decode()]}]}
    expected = run_here(tiny(), {"x": (picture / 255).astype(np.float32).reshape(1, 1, 8, 8)})["y"]
    with serving([str(bundle), "--accept", "image", "-g", "operator", "--apart"]) as (_, ready):
        model = f"{ready['url']}/v2/models/tiny"
        whole = httpx.post(f"{model}/infer", json=body).json()
        streamed = httpx.post(f"{model}/infer_stream", json=body).text
        paired = httpx.post(f"{model}/infer_stream", json={**body, "parameters": {"part_steps": 2}}).text
        damaged = httpx.post(f"{model}/infer", json={"inputs": [{**tensor, "data": ["iVBORw0="]}]})
    np.testing.assert_array_equal(np.float32(whole["outputs"][0]["data"]), expected[0])
    assert (streamed.count("event: part"), streamed.count("event: final")) == (3, 1)
    assert (paired.count("event: part"), paired.count("event: final")) == (1, 1)
    for text in (streamed, paired):
        last = json.loads(text.strip().rpartition("data: ")[2])
        assert last["outputs"] == whole["outputs"]
    assert damaged.status_code == 400
    assert "PNG" in damaged.json()["error"]


@pytest.mark.slow
def test_a_record_of_a_killed_deployment_is_forgotten(run: Callable, bundle: Path, home: Path) -> None:
    with serving([str(bundle)]) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert run("ps", "--json").json == {"deployments": []}
        assert list((home / "run").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["", "first,second"])
def test_the_printed_curl_line_works_as_pasted(
    keys: str, bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, keys)
    command = [sys.executable, "-m", "synfire", "serve", str(bundle), "--port", "0", "--grpc-port", "-1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(each for each in process.stdout if each.startswith("curl "))
        assert "first" not in line
        answered = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(answered.stdout)["outputs"][0]["shape"] == [1, 10]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_a_key_is_asked_for_at_the_gateway_and_at_its_workers(
    run: Callable, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "first,second")
    with serving([str(bundle)]) as (_, ready):
        assert run("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json").code == 0
        door = ready["workers"][0]["url"]
        until(lambda: httpx.get(f"{door}/v2/health/ready").is_success)
        refused = httpx.get(f"{door}/v2")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="synfire"')
        assert httpx.get(f"{door}/v2", headers={"authorization": "Bearer second"}).status_code == 200
        monkeypatch.delenv(VARIABLE)
        ran = run("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json")
        assert ran.code == 2
        assert "takes KEY from SYNFIRE_API_KEY" in ran.json["error"]


def test_a_taken_port_is_the_users_mistake(run: Callable, bundle: Path, ready: dict[str, Any]) -> None:
    ran = run("serve", str(bundle), "--port", ready["url"].rpartition(":")[2], "--json")
    assert ran.code == 2
    assert "choose another with --port" in ran.json["error"]


def test_one_port_for_both_protocols_is_refused_before_anything_starts(run: Callable, bundle: Path, home: Path) -> None:
    ran = run("serve", str(bundle), "--port", "8085", "--grpc-port", "8085", "--json")
    assert ran.code == 2
    assert ran.json["error"] == "port 8085 is named for both HTTP and gRPC; choose two"
    assert not home.exists()


TERMINATED_WHILE_STARTING = """
import asyncio, os, signal, sys
from synfire.cli import main
from synfire.deploy.roles.supervisor import Supervisor

whole_start = Supervisor.start

async def start(self, first):
    await whole_start(self, first)
    processes = [*self.workers.values(), *(role.process for role in self.roles.values())]
    print(*(process.pid for process in processes), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()

Supervisor.start = start
main(["serve", sys.argv[1], "--port", "0", "--grpc-port", "-1"])
"""


@pytest.mark.slow
def test_sigterm_while_it_starts_ends_in_order_and_leaves_nothing(bundle: Path, home: Path) -> None:
    command = [sys.executable, "-c", TERMINATED_WHILE_STARTING, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (143, "terminated\n")
    assert list((home / "run").iterdir()) == []
    assert [runs.born(int(pid)) for pid in done.stdout.split()] == ["", "", ""]


@pytest.mark.slow
def test_a_foreign_service_computes_a_stage(run: Callable, bundle: Path) -> None:
    with serving([str(bundle), "-g", "operator", "-w", "1"]) as (_, far):
        (door,) = [each["url"] for each in far["workers"]]
        assert "tiny.fc1" in httpx.get(f"{door}/v2/models").json()["models"]
        service = f"near.fc1={door}/v2/models/tiny.fc1"
        with serving([f"near={bundle}", "-g", "operator", "--apart", "--service", service]) as (_, ready):
            asked = run("infer", "near", "--digit", "5", "--url", ready["url"], "--json").json
    here = run("infer", str(bundle), "--digit", "5", "--json").json
    assert {**asked, "model": here["model"]} == here


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("tiny.none=http://host/v2/models/x", "there is no stage named 'tiny.none'; known: tiny."),
        ("tiny.fc1", "is not MODEL.STAGE=URL"),
        ("tiny.fc1=host:80", "is not MODEL.STAGE=URL"),
        pytest.param("tiny.lif1=http://host/v2/models/x", "keeps state", marks=pytest.mark.slow),
    ],
)
def test_a_service_that_cannot_stand_there_is_refused(run: Callable, bundle: Path, service: str, message: str) -> None:
    ran = run(
        "serve",
        str(bundle),
        "-g",
        "operator",
        "--apart",
        "--port",
        "0",
        "--grpc-port",
        "-1",
        "--service",
        service,
        "--json",
    )
    assert ran.code == 2
    assert message in ran.json["error"]


def test_a_server_of_something_else_is_named_in_one_line(run: Callable) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>no such page</html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        ran = run("infer", "x", "--digit", "1", "--url", url, "--json")
        server.shutdown()
    assert ran.code == 2
    assert ran.json["error"].startswith(
        f"{url} is no server of the Open Inference Protocol: it answered 404 with text/html"
    )


def test_levels_are_refused_where_the_server_tells_that_values_lie_in_the_unit_range(
    run: Callable, tmp_path: Path, ready: dict[str, Any]
) -> None:
    np.save(tmp_path / "x.npy", np.full((1, 8, 8), 255, np.uint8))
    about = httpx.get(f"{ready['url']}/v2/models/tiny").json()
    assert about["inputs"][0]["parameters"] == {"request": "a grey image (1, 8, 8), values in [0, 1]"}
    ran = run("infer", "tiny", "-i", str(tmp_path / "x.npy"), "--url", ready["url"], "--json")
    assert ran.code == 2
    assert "divide pixels by 255" in ran.json["error"]


def test_two_models_of_one_name_are_refused(run: Callable, bundle: Path, tmp_path: Path) -> None:
    write_bundle(tiny(1), tmp_path / "other" / "tiny")
    ran = run("serve", str(bundle), str(tmp_path / "other" / "tiny"), "--port", "0")
    assert ran.code == 2
    assert "NAME@VERSION=MODEL" in ran.err


def test_an_error_of_the_gateway_keeps_its_kind(run: Callable, ready: dict[str, Any]) -> None:
    ran = run("infer", "other", "--digit", "1", "--url", ready["url"], "--json")
    assert ran.code == 2
    assert "there is no model named 'other'" in ran.json["error"]


def test_a_process_number_that_was_given_away_is_not_taken_for_the_deployment() -> None:
    record = runs.Run(id="1", url="", grpc="", metrics="", pid=os.getpid(), born="0", workers=(), models=())
    assert not record.alive


@pytest.mark.slow
def test_demo_serves_every_family_operator_by_operator(run: Callable) -> None:
    rows = run("demo", "--digits", "12", "--json").json["models"]
    assert len({row["family"] for row in rows}) >= 6
    for row in rows:
        assert row["digits"] == 12
        assert row["accuracy"] > 0.6
        assert row["stages"] > row["workers"] == 2
        assert row["hop_bytes"] > 0


def test_files_travel_as_base64_in_the_printed_request() -> None:
    from synfire.cli.curl import _tensor
    from synfire.zoo import files

    tensor = _tensor("image", files(b"\x89PNG"))
    assert tensor["parameters"] == {"content_type": "base64"}
    assert base64.b64decode(tensor["data"][0]) == b"\x89PNG"
