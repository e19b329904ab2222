"""What a killed deployment has left is found by one that is begun with the same, once, and by no other."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from synfire.base.processes import born
from synfire.control.adoption import EPOCHS
from synfire.control.state import State, WorkerView
from synfire.deploy.folders import Claim, claimed, make_folder, sweep
from synfire.deploy.ledger import Ledger, Wanted, write_ledger
from synfire.deploy.remains import BLOBS, CONTROLLERS, Remains, beginning_of, remains
from synfire.deploy.settings import Settings
from synfire.plan import Plan
from synfire.plan.plan import Stage
from synfire.wire.links.tls import Credential

SETTINGS = Settings(begins=False, join="127.0.0.1:0")
MOVED = replace(SETTINGS, join="127.0.0.1:7000")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:  # short, as sockets need it
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        yield Path(folder)


def state(times: int = 0) -> State:
    """As the first controller has written it since the deployment was begun the last of so many times."""
    workers = {"far": WorkerView("far", joined=True), "worker-0": WorkerView("worker-0")}
    return State(workers=workers, first_epoch=times * CONTROLLERS * EPOCHS)


def killed(home: Path, written: State | None, times: int = 0, lasts: bool = True) -> Path:
    """Have a deployment `d`, begun with `b`, be killed; its folder."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        claim = Claim(process.pid, born(process.pid), lasts)
    folder = make_folder("d")
    (folder / BLOBS).mkdir()
    (folder / BLOBS / "blob").touch()
    (folder / "controller.sock").touch()
    (folder / "planner").mkdir()
    (home / "run" / "d.claim").write_bytes(msgspec.json.encode(claim))
    write_ledger(Ledger(deployment="d", settings=SETTINGS, models=(), state=written, beginning="b", times=times))
    return folder


def found(beginning: str = "b") -> Remains | None:
    return remains(beginning, MOVED)


@pytest.mark.parametrize("times", [0, 3])
def test_what_is_left_is_gone_on_with_by_the_first_that_is_begun_with_the_same(home: Path, times: int) -> None:
    folder = killed(home, state(times), times)
    left = found()
    assert left is not None
    assert (left.folder, left.joined, left.controllers) == (folder, {"far"}, (times + 1) * CONTROLLERS)
    assert (left.ledger.settings, left.ledger.times, left.ledger.state) == (MOVED, times + 1, state(times))
    assert [each.name for each in folder.rglob("*")] == [BLOBS, "blob"]
    assert found() is None
    with claimed("d", lasts=True):
        assert folder.exists()


def test_one_that_is_begun_with_something_else_leaves_nothing_of_it(home: Path) -> None:
    folder = killed(home, state())
    assert found("c") is None
    with claimed("other", lasts=True):
        assert not folder.exists()


def test_who_looks_what_runs_leaves_it(home: Path) -> None:
    folder = killed(home, state())
    sweep()
    assert folder.exists()


@pytest.mark.parametrize(
    ("written", "times", "lasts"),
    [
        (None, 0, True),  # no model was ever served
        (state(0), 1, True),  # it was begun again, and killed before it went on: by what it found there, perhaps
        (state(), 0, False),
    ],
)
def test_what_is_of_no_use_is_not_gone_on_with(home: Path, written: State | None, times: int, lasts: bool) -> None:
    killed(home, written, times, lasts)
    assert found() is None


def test_a_deployment_that_runs_is_left_alone(home: Path) -> None:
    killed(home, state())
    with claimed("d", lasts=True):
        make_folder("d")
        assert found() is None


def test_a_ledger_that_cannot_be_read_is_of_no_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(home, state())
    monkeypatch.setattr("synfire.store.Catalog.current", lambda *_: b"damaged")
    assert found() is None


def wanted(
    name: str = "net", digest: str = "1", worker: str = "place-0", busy_s: float = 0.1, rate: float = 0.0
) -> Wanted:
    stage = Stage(name="fc", operators=("fc",), worker=worker, busy_s=busy_s, events=busy_s * 1e4)
    plan = Plan(model=name, granularity="auto", stages=(stage,), links=(), frame_steps=4, latency_s=busy_s, rate=rate)
    return Wanted(name=name, version="1", source=name, digest=digest, plan=plan)


def pem(text: str) -> Credential:
    return Credential(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n".encode())


def test_a_beginning_is_the_same_wherever_callers_and_workers_find_it_and_however_quick_the_machine_seems() -> None:
    same = beginning_of([wanted(busy_s=0.2)], MOVED, [b"chain"], pem("AAAA"))
    assert beginning_of([wanted()], SETTINGS, [b"chain"], pem("AAAA")) == same
    others = (
        ([wanted(digest="2")], SETTINGS, [b"chain"], pem("AAAA")),
        ([wanted(rate=20.0)], SETTINGS, [b"chain"], pem("AAAA")),
        ([wanted(worker="place-1")], SETTINGS, [b"chain"], pem("AAAA")),
        ([], SETTINGS, [b"chain"], pem("AAAA")),
        ([wanted()], replace(SETTINGS, spares=1), [b"chain"], pem("AAAA")),
        ([wanted()], SETTINGS, [b"other"], pem("AAAA")),
        ([wanted()], SETTINGS, [b"chain"], pem("BBBB")),
    )
    assert len({same, *(beginning_of(*each) for each in others)}) == 1 + len(others)
