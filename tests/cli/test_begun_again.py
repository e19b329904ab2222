"""All processes of `synfire serve` are killed at once, and it is begun again: it goes on with the workers that had joined it, and with what
these hold."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import import_tiny, tiny

from synfire.base.errors import TemporaryError
from synfire.base.processes import born
from synfire.cli.infer import run_here
from synfire.control.record import RecoveryLog
from synfire.testing.callers import Callers, until
from synfire.zoo import sample

pytestmark = pytest.mark.slow
TOKEN = "0123456789abcdef" * 4
WAIT_S = 60


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        monkeypatch.setenv("SYNFIRE_JOIN_TOKEN", TOKEN)
        import_tiny(Path(folder))
        yield Path(folder)


class Served:
    """`synfire serve` of the model `tiny`, with a worker that joins for each of its stages; `url` and `door` are where the one before was found."""

    def __init__(self, before: Served | None = None, granularity: str = "block") -> None:
        port, door = ("0", "127.0.0.1:0") if before is None else (before.url.rpartition(":")[2], before.door)
        words = [
            "tiny",
            "--granularity",
            granularity,
            "--workers",
            "0",
            "--join",
            door,
            "--port",
            port,
            "--grpc-port",
            "-1",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synfire", "serve", *words, "--json"], stdout=subprocess.PIPE
        )
        said = self._said()
        self.url, self.door = said["url"], said["join"]["address"]

    def kill(self) -> None:
        """End all its processes at once, as a container does that is killed, and see that they have ended."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        ends = [os.pidfd_open(pid) for pid in pids]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(WAIT_S)
        for end in ends:
            assert select.select([end], [], [], WAIT_S)[0]
            os.close(end)

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=WAIT_S)

    def asked(self, what: str) -> Any:
        return httpx.get(f"{self.url}/api/{what}").raise_for_status().json()

    def hosts(self) -> list[str]:
        """The workers that host a stage, where the model is served."""
        (model,) = (each for each in self.asked("models") if each["model"] == "tiny")
        return sorted(model["workers"]) if model["status"] == "served" else []

    def _said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said


def descendants(pid: int) -> list[int]:
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for child in children for each in (child, *descendants(child))]


@contextmanager
def ending(served: Served) -> Iterator[Served]:
    try:
        yield served
    finally:
        served.end()


class Worker(threading.Thread):
    """`synfire worker`; `said` is what it has told each time that it had joined: the deployment, and the worker's process."""

    def __init__(self, door: str, name: str) -> None:
        super().__init__()
        words = ["--join", door, "--name", name, "--group", name, "--threads", "1", "--json"]
        self.process = subprocess.Popen([sys.executable, "-m", "synfire", "worker", *words], stdout=subprocess.PIPE)
        self.said: list[tuple[str, int]] = []
        self.start()

    def run(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            self.said.append((said["deployment"], said["pid"]))

    def joins(self, times: int = 1) -> tuple[str, int]:
        """What it says when it has joined so often; waits for that."""
        until(lambda: len(self.said) >= times)
        return self.said[times - 1]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)
        self.join()


@contextmanager
def workers(door: str, names: str) -> Iterator[dict[str, Worker]]:
    """Workers by these names that have joined."""
    begun = {name: Worker(door, name) for name in names}
    try:
        for each in begun.values():
            each.joins()
        yield begun
    finally:
        for each in begun.values():
            each.end()


@contextmanager
def deployment() -> Iterator[tuple[Served, dict[str, Worker]]]:
    """A deployment, and a worker for each of its stages."""
    with ending(Served()) as served:
        (model,) = served.asked("models")
        with workers(served.door, "abcdefgh"[: model["stages"]]) as begun:
            until(lambda: served.hosts() == list(begun))
            yield served, begun


@contextmanager
def again(served: Served, begun: dict[str, Worker], *more: Worker, without: str = "") -> Iterator[Served]:
    """Kill it and begin it again; all workers but that one join again, and are who they were."""
    staying = [each for name, each in begun.items() if name != without] + list(more)
    living = {each for each in staying if born(each.said[-1][1])}  # on a busy machine one may be about to come anew
    served.kill()
    times = {each: len(each.said) for each in staying}
    if without:
        begun[without].process.kill()
    with ending(Served(served)) as second:
        for each, before in times.items():
            assert each.joins(before + 1) == each.said[before - 1] or each not in living
        yield second


def lost() -> set[str]:
    """The workers that are on record as lost."""
    return {each.worker for each in RecoveryLog().recent(99) if each.cause.kind != "rebalance"}


def calling(served: Served) -> Callers:
    return Callers(served.url, "tiny", sample(tiny()), run_here(tiny(), sample(tiny())), again=(TemporaryError,))


def test_workers_keep_their_processes_and_stages_and_what_was_asked_for_by_http_is_served_on() -> None:
    with deployment() as (first, begun):
        assert httpx.put(f"{first.url}/api/deployment/models/more", json={"source": "tiny"}).status_code == 202
        until(lambda: [each["status"] for each in first.asked("models")] == ["served", "served"])
        with calling(first) as callers, again(first, begun) as second:
            callers.go_on()
            assert {each["model"] for each in second.asked("models")} == {"tiny", "more"}
            times = len(begun["a"].said)
            os.kill(begun["a"].said[-1][1], signal.SIGKILL)  # whoever is lost from now on is made good
            begun["a"].joins(times + 1)
            callers.go_on()
            with again(second, begun):
                callers.go_on()
                assert "a" in lost()
        callers.check("all processes of `serve` killed twice, and a worker in between")
        assert callers.broken > 0


def test_who_is_not_back_in_time_is_replaced() -> None:
    with deployment() as (first, begun), workers(first.door, "z") as other, calling(first) as callers:
        until(lambda: len(first.asked("workers")) == len(begun) + 1)
        with again(first, begun, *other.values(), without="a") as second:
            until(lambda: second.hosts() == [*list(begun)[1:], "z"])
            callers.go_on()
            assert "a" in lost()
    callers.check("all processes of `serve` killed, and a worker's machine")


def test_one_that_is_begun_with_something_else_begins_anew() -> None:
    with deployment() as (first, begun):
        first.kill()
        before = {name: (len(each.said), each.said[-1]) for name, each in begun.items()}
        with ending(Served(first, granularity="model")) as second:
            for name, each in begun.items():
                times, (identity, process) = before[name]
                other, fresh = each.joins(times + 1)
                assert (other != identity, fresh != process) == (True, True)
            until(lambda: len(second.hosts()) == 1)
