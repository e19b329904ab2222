"""`serve --workers 0`: models begin on workers that join, wait for them with their calls, and go on when these are replaced."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from joining import TOKEN, deployment, joined, worker
from served import import_tiny, tiny

from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.formats.bundle import write_bundle
from synfire.testing.callers import Callers, until
from synfire.wire.client import Client
from synfire.zoo import sample

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        monkeypatch.setenv("SYNFIRE_JOIN_TOKEN", TOKEN)
        yield Path(folder)


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_bundle(tiny(), tmp_path / "tiny")
    return f"tiny={tmp_path / 'tiny'}"


def comes(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """What it says when it has joined by that name; waits for that. On a busy machine it may have come again by another one before."""
    while (said := joined(process))["name"] != name:
        continue
    return said


def kill(process: subprocess.Popen[str], name: str) -> None:
    """Kill the process that `synfire worker` has begun by that name: the one that is there now, since a busy machine may have had it begun again."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def found() -> list[int]:
        pids = [int(each) for each in children.read_text().split()]
        return [pid for pid in pids if f"--name\0{name}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]

    until(lambda: bool(found()))
    os.kill(found()[0], signal.SIGKILL)


def told(url: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{url}/api/{what}").json()
    return found


def status(url: str) -> str:
    return str(told(url, "models")[0]["status"])


class Caller(threading.Thread):
    """Asks so many times; `wrong` are the answers that differ from the reference's."""

    def __init__(self, url: str, times: int = 1) -> None:
        super().__init__()
        self.answered, self.wrong = 0, 0
        self.errors: Sequence[Exception] = ()
        self._url, self._times = url, times
        self._expected = run_here(tiny(), sample(tiny()))["y"].tobytes()
        self.start()

    def run(self) -> None:
        with Client(self._url) as client:
            for _ in range(self._times):
                try:
                    found = client.infer("tiny", sample(tiny())).outputs["y"].tobytes()
                except Exception as error:
                    self.errors = (*self.errors, error)
                    return
                self.wrong += found != self._expected
                self.answered += 1

    def check(self) -> None:
        self.join(200)
        assert (self.answered, self.wrong, list(self.errors)) == (self._times, 0, [])


def test_a_model_waits_for_its_workers_with_the_calls_and_is_served_one_stage_on_each(model):
    with deployment(model, "-g", "block") as (url, door):
        (info,) = told(url, "models")
        assert (info["status"], info["ready"]) == ("waiting", False)
        assert f"{info['stages']} of kind cpu (0 of the 0 here can)" in info["reason"]
        assert httpx.get(f"{url}/api/deployment/vacancies").json() == {"places": {"cpu": info["stages"]}}
        assert httpx.get(f"{url}/v2/models/tiny/ready").status_code == 503
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        late = httpx.post(
            f"{url}/v2/models/tiny/infer",
            json={"inputs": [{"name": "x", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}]},
            headers={"Synfire-Timeout-Ms": "100"},
        )
        assert late.status_code == 503
        assert "takes no calls yet: it waits for workers to join" in late.json()["error"]
        names = "abcdefgh"[: info["stages"]]
        with ExitStack() as stack:
            begun = [stack.enter_context(worker(door, each, "--threads", "1", "--memory", "1GB")) for each in names]
            assert joined(begun[0])["role"] == "host"
            caller = Caller(url)  # a call waits for a minute at the most, and a busy machine begins no worker faster
            assert {joined(each)["role"] for each in begun[1:]} == {"host"}
            caller.check()
            assert httpx.get(f"{url}/api/deployment/vacancies").json() == {"places": {}}
            (plan,) = told(url, "plans")
            assert sorted(stage["worker"] for stage in plan["stages"]) == list(names)
            found = {each["name"]: each for each in told(url, "workers")}
            assert found["b"]["memory_bytes"] == 10**9
            assert (found["a"]["joined"], found["a"]["group"], found["a"]["device"]) == (True, "a", "cpu")
            stage = plan["stages"][0]
            at = found[stage["worker"]]["url"]
            assert f"tiny.{stage['name']}" in httpx.get(f"{at}/v2/models").json()["models"]


def test_a_lost_worker_is_replaced_by_a_spare_or_by_the_next_that_joins_and_no_call_is(model):
    with deployment(model) as (url, door), worker(door, "a") as first:
        pid = joined(first)["pid"]
        until(lambda: status(url) == "served")
        with worker(door, "s", "--role", "spare") as spare:
            joined(spare)
            caller = Caller(url, 200)
            until(lambda: caller.answered > 20)
            os.kill(pid, signal.SIGKILL)
            caller.check()
            joined(first)
            until(
                lambda: [each["name"] for each in told(url, "workers") if each["plans"]] == ["a"]
            )  # it relieves the spare
            caller = Caller(url, 200)
            until(lambda: caller.answered > 20)
            spare.send_signal(signal.SIGTERM)
            caller.check()
            assert status(url) == "served"


def test_without_anybody_left_calls_wait_for_the_next_worker(model):
    with deployment(model) as (url, door):
        with worker(door, "a") as first:
            joined(first)
            until(lambda: status(url) == "served")
        until(lambda: status(url) == "waiting")
        caller = Caller(url)
        with worker(door, "b") as second:
            joined(second)
            caller.check()


def test_models_are_asked_for_by_http_changed_in_place_and_given_up(home):
    import_tiny(home)
    with deployment() as (url, door), httpx.Client(base_url=f"{url}/api") as client, worker(door, "a") as first:

        def told_of(name: str) -> dict[str, Any]:
            found: dict[str, Any] = client.get(f"deployment/models/{name}").json()
            return found

        joined(first)
        assert client.get("deployment/models").json() == []
        for body, words in (
            ({"source": "../tiny"}, "no path"),
            ({"source": "tiny", "device": "warp"}, "warp"),
            ({"source": "tiny", "replicas": 100}, "0 to 99"),
            ({"source": "tiny", "colour": "red"}, "colour"),
        ):
            refused = client.put("deployment/models/net", json=body)
            assert refused.status_code == 400
            assert words in refused.json()["error"]
        assert client.put("deployment/models/net", json={"source": "tiny"}).status_code == 202
        assert client.put("deployment/models/net", json={"source": "tiny"}).status_code == 200
        until(lambda: told_of("net")["status"] == "served")
        assert told_of("net")["replicas_ready"] == 1
        assert {each["worker"] for each in told_of("net")["stages"]} == {"a"}
        with Client(url) as asking:
            assert asking.infer("net", sample(tiny())).outputs["y"].shape == (1, 10)
        assert client.put("deployment/models/net", json={"source": "tiny", "replicas": 2}).status_code == 202
        until(lambda: told_of("net")["replicas"] == 2)
        assert "without another replica" in told_of("net")["reason"]
        with worker(door, "b") as second:
            joined(second)
            until(lambda: told_of("net")["replicas_ready"] == 2)
            controller = next(each for each in runs.running()[0].roles if each.name == "controller")
            os.kill(controller.pid, signal.SIGKILL)
            until(lambda: client.put("deployment/models/none", json={"source": "nothing-such"}).status_code == 202)
            until(lambda: told_of("none")["status"] == "failed")
            assert "nothing-such" in told_of("none")["reason"]
            assert told_of("net")["replicas_ready"] == 2
            assert client.delete("deployment/models/none").status_code == 200
            assert client.post("workers/b/lost").status_code == 200
            drained = client.post("workers/b/drain")
            assert drained.status_code == 503 or drained.json()["order"]["retired"] == ["b"]
        assert client.delete("deployment/models/net").status_code == 200
        until(lambda: client.get("deployment/models").json() == [])
        assert client.delete("deployment/models/net").status_code == 404


def test_a_model_scales_with_its_calls_and_sleeps_until_the_next_one(home):
    import_tiny(home)
    scale = {"most": 2, "least": 0, "calls": 0.5, "idle_s": 1}
    with deployment() as (url, door), httpx.Client(base_url=f"{url}/api") as client, ExitStack() as stack:
        for name in "ab":
            joined(stack.enter_context(worker(door, name)))

        def now(what: str) -> Any:
            return client.get("deployment/models/tiny").json()[what]

        assert client.put("deployment/models/tiny", json={"source": "tiny", "scale": scale}).status_code == 202
        until(lambda: now("status") == "asleep")
        until(lambda: not any(each["plans"] for each in told(url, "workers")))
        Caller(url).check()
        callers = [Caller(url, 300) for _ in range(3)]
        until(lambda: now("replicas_ready") == 2)
        for each in callers:
            each.check()
        until(lambda: (now("status"), now("replicas")) == ("asleep", 1))
        Caller(url).check()


def test_until_it_is_told_which_models_there_are_nobody_is_told_that_there_is_none(home):
    import_tiny(home)
    x = {"name": "x", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}

    def asked(url: str, name: str = "tiny") -> httpx.Response:
        return httpx.post(f"{url}/v2/models/{name}/infer", json={"inputs": [x]})

    with deployment("--await-models", "10m") as (url, door), worker(door, "a") as first:
        assert httpx.get(f"{url}/api/deployment/told").json() == {"told": False}
        refused = asked(url)
        assert (refused.status_code, "has not been told yet" in refused.json()["error"]) == (503, True)
        assert int(refused.headers["retry-after"]) >= 1
        joined(first)
        assert httpx.put(f"{url}/api/deployment/models/tiny", json={"source": "tiny"}).status_code == 202
        stale = httpx.post(f"{url}/api/deployment/told", json={"models": ["other", "tiny"]})
        assert (stale.status_code, "was not asked for other since it began" in stale.json()["error"]) == (503, True)
        assert httpx.get(f"{url}/api/deployment/told").json() == {"told": False}
        assert httpx.post(f"{url}/api/deployment/told", json={"models": ["tiny"]}).status_code == 200
        assert httpx.get(f"{url}/api/deployment/told").json() == {"told": True}
        assert asked(url, "other").status_code == 404
        statuses = []
        until(lambda: statuses.append(asked(url).status_code) or statuses[-1] == 200)  # type: ignore[func-returns-value]
        assert set(statuses) <= {200, 503}
    with deployment("--await-models", "1s") as (url, _):
        until(lambda: asked(url).status_code == 404)
    with deployment() as (url, _):
        assert asked(url).status_code == 404


def test_one_stage_sleeps_and_a_call_of_it_waits_for_a_worker_to_join_or_is_told_that_it_does(home):
    import_tiny(home)
    wish = {"source": "tiny", "granularity": "operator", "apart": True, "workers": 2}
    with deployment() as (url, door), httpx.Client(base_url=f"{url}/api") as client, ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        for name in "ab":
            joined(first.enter_context(worker(door, name)))

        def now() -> dict[str, Any]:
            found: dict[str, Any] = client.get("deployment/models/tiny").json()
            return found

        def homes() -> dict[str, str]:
            return {each["stage"]: each["worker"] for each in now()["stages"]}

        assert client.put("deployment/models/tiny", json=wish).status_code == 202
        until(lambda: now()["status"] == "served")
        served = homes()
        assert set(served.values()) == {"a", "b"}
        stages = {"fc2": {"least": 0, "most": 1, "idle_s": 0.5}}
        assert client.put("deployment/models/tiny", json=wish | {"stages": stages}).status_code == 202
        until(lambda: now()["status"] == "asleep")
        assert homes() == served | {"fc2": ""}
        assert "fc2 left its worker" in now()["reason"]
        until(lambda: not any(one["stage"] == "fc2" for each in told(url, "workers") for one in each["stages"]))
        Caller(url).check()
        until(lambda: now()["status"] == "asleep")
        first.close()
        until(lambda: not told(url, "workers"))
        image = sample(tiny())["x"]
        x = {"name": "x", "shape": image.shape, "datatype": "FP32", "data": image.ravel().tolist()}
        hasty = httpx.post(f"{url}/v2/models/tiny/infer", json={"inputs": [x], "parameters": {"timeout": 1_000_000}})
        assert hasty.status_code == 503
        assert re.search("waits for a cpu worker .* to join.*held until its deadline", hasty.json()["error"])
        patient = Caller(url)
        joined(stack.enter_context(worker(door, "c")))
        patient.check()
        assert set(homes().values()) == {"c"}


def calling(url: str) -> Callers:
    return Callers(url, "tiny", sample(tiny()), run_here(tiny(), sample(tiny())))


def upgrade() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "synfire", "upgrade", "--json"], capture_output=True, text=True)


def hosting(url: str) -> list[str]:
    return [each["name"] for each in told(url, "workers") if each["plans"]]


def test_an_upgrade_replaces_workers_that_have_joined_and_no_call_is_lost(model):
    with deployment(model) as (url, door), worker(door, "a") as first, worker(door, "s", "--role", "spare") as spare:
        before = {each["name"]: each for each in (joined(first), joined(spare))}
        until(lambda: status(url) == "served" and len(told(url, "workers")) == 2)
        with calling(url) as callers:
            done = upgrade()
            assert done.returncode == 0, done.stderr
            order = json.loads(done.stdout)
            callers.go_on()
            fresh = {"a.r2": comes(first, "a.r2"), "s.r2": comes(spare, "s.r2")}
            assert (sorted(order["ended"]), order["remarks"]) == (["a", "s"], [])
            until(lambda: {each["name"] for each in told(url, "workers")} == {"a.r2", "s.r2"} == fresh.keys())
            assert fresh["s.r2"]["role"] == "spare"
            until(lambda: hosting(url) == ["a.r2"])
            assert not any(Path(f"/proc/{each['pid']}").exists() for each in before.values())
            kill(first, "a.r2")  # whoever took the place is one that comes again
            comes(first, "a.r2")
            callers.go_on()
        callers.check("upgrade of two workers that have joined, and a kill after it")
        spare.terminate()
        assert spare.wait(60) == 0


def test_an_upgrade_to_what_does_not_run_ends_with_the_reason_and_nobody_goes(model, tmp_path, monkeypatch):
    installed = tmp_path / "installed"
    installed.mkdir()
    broken = "import os, sys\nif 'synfire.worker' in sys.orig_argv: os.write(2, b'broken installation'), os._exit(7)\n"
    with deployment(model) as (url, door):
        monkeypatch.setenv("PYTHONPATH", str(installed))
        with worker(door, "a") as first:
            joined(first)
            until(lambda: status(url) == "served")
            with calling(url) as callers:
                (installed / "sitecustomize.py").write_text(broken)
                failed = upgrade()
                assert failed.returncode == 3
                error = json.loads(failed.stdout)["error"]
                assert "worker a cannot be replaced, and stays as it is" in error
                assert "left with exit code 7" in error
                assert "broken installation" in error
                until(lambda: hosting(url) == ["a"])
                callers.go_on()
                kill(first, "a")  # and what it was begun from is still there
                comes(first, "a")
                callers.go_on()
                (installed / "sitecustomize.py").unlink()
                assert json.loads(upgrade().stdout)["ended"] == ["a"]
                comes(first, "a.r2")
                callers.go_on()
            callers.check("upgrade to what does not run, a kill, and an upgrade to what does")


def test_pods_that_are_replaced_one_after_the_other_or_all_at_once_lose_no_call(model):
    with deployment(model) as (url, door), ExitStack() as stack:

        def pod(name: str, *more: str) -> subprocess.Popen[str]:
            return stack.enter_context(worker(door, name, *more))

        pods = {"host-0": pod("host-0"), "spare-a": pod("spare-a", "--role", "spare")}
        roles = {"host-0": (), "spare-a": ("--role", "spare")}
        for each in pods.values():
            joined(each)
        until(lambda: status(url) == "served")
        with calling(url) as callers:
            for rolled in (["host-0"], ["spare-a"], ["host-0", "spare-a"]):
                for name in rolled:
                    pods[name].terminate()
                assert [pods[name].wait(60) for name in rolled] == [0] * len(rolled)
                pods |= {name: pod(name, *roles[name]) for name in rolled}
                for name in rolled:
                    joined(pods[name])
                until(lambda: hosting(url) == ["host-0"])
                callers.go_on()
        callers.check("two Pods replaced one after the other, then both at once")


def test_one_that_comes_again_by_its_name_after_others_have_joined_is_not_taken_for_the_one_that_left(model):
    with deployment(model) as (url, door), ExitStack() as stack:
        first, second = (stack.enter_context(worker(door, name)) for name in "ab")
        joined(first)
        joined(second)
        until(lambda: status(url) == "served")
        with calling(url) as callers:
            first.terminate()
            assert first.wait(60) == 0
            until(lambda: hosting(url) == ["b"])
            joined(stack.enter_context(worker(door, "c")))
            again = joined(stack.enter_context(worker(door, "a")))
            until(lambda: {each["name"] for each in told(url, "workers")} == {"a", "b", "c"})
            for order in ("rebalance", "workers/b/drain"):  # whatever gateways have told of it is heard by then
                assert httpx.post(f"{url}/api/{order}", timeout=60).status_code == 200
                callers.go_on()
            assert Path(f"/proc/{again['pid']}").exists()
        callers.check("one left, another joined, and the first came again")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "open one with --join PORT"),
        (["--workers", "0", "--join", "0", "--most-workers", "3"], "leave one out"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words):
    command = [sys.executable, "-m", "synfire", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_stage_in_two_places_is_asked_for_by_http_and_one_of_these_is_lost(home):
    import_tiny(home)
    wish = {"source": "tiny", "granularity": "operator", "apart": True, "workers": 2}
    with deployment() as (url, door), httpx.Client(base_url=f"{url}/api") as client, ExitStack() as stack:
        began = {name: stack.enter_context(worker(door, name)) for name in "abc"}
        for each in began.values():
            joined(each)

        def now(what: str) -> Any:
            return client.get("deployment/models/tiny").json()[what]

        def homes() -> set[str]:
            return {each["worker"] for each in now("stages") if each["operators"] == ["fc2"]} - {""}

        refused = client.put("deployment/models/tiny", json={**wish, "stages": {"fc2": {"most": 2, "least": 3}}})
        assert refused.status_code == 400
        assert "from 3 to 2 replicas" in refused.text
        wished = client.put("deployment/models/tiny", json={**wish, "stages": {"fc2": {"most": 2, "least": 2}}})
        assert wished.status_code == 202
        until(lambda: now("status") == "served" and len(homes()) == 2)
        with calling(url) as callers:
            lost = sorted(homes())[0]
            kill(began[lost], lost)
            callers.go_on()
            comes(began[lost], lost)  # its loss is known by then; a stand-in may come sooner than one can look
            until(lambda: len(homes()) == 2)
            callers.go_on()
        callers.check("one of two places of a stage lost, and there again")
