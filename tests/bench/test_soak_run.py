"""Soaks of real deployments: a short one that holds, and ones in which something goes wrong that no schedule knows of."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from synfire.base import paths
from synfire.bench.soak.processes import census
from synfire.bench.soak.schedule import CALLERS

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files with a short path, as sockets need it."""
    found = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        yield found
    finally:
        shutil.rmtree(found)


@contextmanager
def soaking(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`synfire soak` as a process; in the block it has told how far it is for the first time."""
    environment = {**os.environ, "TMPDIR": str(folder), "SYNFIRE_CACHE": str(paths.cache().absolute())}
    command = [sys.executable, "-m", "synfire", "soak", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stderr is not None
        assert "requests" in process.stderr.readline()
        yield process


def home_in(folder: Path) -> Path:
    (found,) = folder.glob("synfire-soak-*/home")
    return found


def test_a_short_soak_holds_and_leaves_nothing_behind(folder: Path) -> None:
    kinds = ("worker-kill", "worker-stop", "link-drop", "controller-kill", "gateway-kill", "reload", "rebalance")
    only = [word for kind in kinds for word in ("--only", kind)]
    with soaking(folder, "--minutes", "0.6", "--seed", "28", *only, "--json") as process:
        out, errors = process.communicate(timeout=280)
    assert process.returncode == 0, out + errors
    found = json.loads(out)
    assert found["seed"] == 28
    assert set(found["requests"]) == set(CALLERS)
    assert found["answers"]["right"] > 100
    assert set(found["faults"]) >= {"controller-kill", "gateway-kill", "worker-kill", "reload"}
    assert found["memory"]["worker"]["most_bytes"] > 1 << 20
    assert list(folder.iterdir()) == []


def test_a_soak_that_fails_tells_its_seed_and_story_and_keeps_the_log(folder: Path) -> None:
    with soaking(folder, "srnn-digits", "--minutes", "2", "--seed", "3", "--only", "worker-slow") as process:
        (serve,) = (each for each in census(home_in(folder)) if each.role == "serve")
        os.kill(serve.pid, signal.SIGKILL)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 1, out + errors
    assert "callers: 1 plain" in out
    assert "DOES NOT HOLD" in out
    assert "seed 3; again: synfire soak srnn-digits --minutes 2 --seed 3 --only worker-slow" in out
    (kept,) = folder.iterdir()
    assert (kept / "serve.log").is_file()
    assert "DOES NOT HOLD" in (kept / "story.txt").read_text()
    assert census(kept / "home") == []


def test_a_soak_that_is_ended_leaves_nothing_behind(folder: Path) -> None:
    with soaking(folder, "srnn-digits", "--minutes", "2", "--seed", "3") as process:
        home = home_in(folder)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "terminated" in errors
    assert list(folder.iterdir()) == []
    assert census(home) == []
