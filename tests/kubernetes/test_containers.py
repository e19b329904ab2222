"""What the containers run, run here as processes: the commands serve and join, and probes are answered as Kubernetes asks them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from synfire.kubernetes.manifests import Description, gateway, workers
from synfire.kubernetes.manifests.parts import TOKEN_FILE

DESCRIPTION = Description(("svgg-digits",), "synfire:0.1.0", options=("--json",))


def container(stateful_set: dict[str, Any]) -> dict[str, Any]:
    (found,) = stateful_set["spec"]["template"]["spec"]["containers"]
    return found


@contextmanager
def started(command: list[str], here: Mapping[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """The command with what only a Pod has replaced by what is `here`; and the line of JSON that it prints when it is there."""
    words = [here.get(each, each) for each in command[1:]]
    environment = {**os.environ, "SYNFIRE_HOME": str(folder), "SYNFIRE_API_KEY": "key"}
    words = [sys.executable, "-m", "synfire", *words]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()


def answered(url: str, of: dict[str, Any], probe: str) -> int:
    """What a probe of the container is answered. It shows no key."""
    return httpx.get(url + of[probe]["httpGet"]["path"], timeout=of[probe]["timeoutSeconds"] * 10).status_code


def becomes_ready(url: str, of: dict[str, Any]) -> bool:
    """Whether the container is ready within a minute, asked as often as it is to be."""
    end_s = time.monotonic() + 60
    while answered(url, of, "readinessProbe") != 200:
        if time.monotonic() > end_s:
            return False
        time.sleep(of["readinessProbe"]["periodSeconds"])
    return True


@pytest.mark.slow
def test_the_commands_serve_and_join_and_answer_their_probes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 64)
    head, joining = container(gateway.stateful_set(DESCRIPTION)), container(workers.stateful_set(DESCRIPTION))
    here = {"8000": "0", "8001": "0", "0.0.0.0:7000": "127.0.0.1:0", TOKEN_FILE: str(tmp_path / "token")}
    with started(head["command"], here, tmp_path / "gateway") as (serving, told):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert answered(told["url"], head, probe) == 200
        assert httpx.get(told["url"] + "/v2/models/svgg-digits").status_code == 401
        here = {
            "synfire-join:7000": told["join"]["address"],
            TOKEN_FILE: str(tmp_path / "token"),
            "$(POD_NAME)": "synfire-workers-0",
            "$(NODE_NAME)": "node-a",
            "$(POD_IP)": "127.0.0.1",
            "7001": "0",
            "0.0.0.0:8000": "127.0.0.1:0",
        }
        with started([*joining["command"], "--json"], here, tmp_path / "worker") as (worker, member):
            assert (member["name"], member["group"]) == ("synfire-workers-0", "node-a")
            assert becomes_ready(member["url"], joining)
            worker.terminate()
            assert worker.wait(60) == 0
        serving.terminate()
        assert serving.wait(60) == 0
