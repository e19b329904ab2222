"""The compose file's commands, run here as processes: they serve, join, and are healthy as its check asks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from synfire.kubernetes.manifests.parts import USER

FILE = Path(__file__).parents[2] / "examples/compose/compose.yaml"
SERVICES: Mapping[str, Any] = yaml.safe_load(FILE.read_text())["services"]
KNOWN = (["docker-compose"], ["docker", "compose"], ["podman-compose"])
TOKEN = "0123456789abcdef" * 4


def words(text: str) -> str:
    """As compose fills in its defaults."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@contextmanager
def started(service: str, here: Mapping[str, str], home: Path, *more: str) -> Iterator[Any]:
    """What a service's command says when it is there, as JSON, with what only containers have replaced by what is `here`."""
    command = [here.get(each, each) for each in map(words, SERVICES[service]["command"])]
    environment = {**os.environ, "SYNFIRE_HOME": str(home), "SYNFIRE_JOIN_TOKEN": TOKEN, "SYNFIRE_API_KEY": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "synfire", *command, "--json", *more], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


@pytest.mark.slow
def test_the_services_commands_serve_join_and_are_healthy(tmp_path: Path) -> None:
    with started("serve", {"0.0.0.0:7000": "127.0.0.1:0"}, tmp_path / "serve", "--port", "0") as serving:
        check = [
            each.replace("http://127.0.0.1:8000", serving["url"]) for each in SERVICES["serve"]["healthcheck"]["test"]
        ]
        assert check[:2] == ["CMD", "python3.11"]
        subprocess.run([sys.executable, *check[2:]], check=True)
        here = {"serve:7000": serving["join"]["address"], "0.0.0.0:8000": "127.0.0.1:0"}
        with started("worker", here, tmp_path / "worker", "--name", "other", "--group", "other") as joined:
            assert joined["name"] == "other"


@pytest.mark.parametrize("name", SERVICES)
def test_containers_may_do_nothing_but_write_to_their_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == f"{USER}:{USER}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    written = {
        each.partition(":")[2 if each[0] != "/" else 0].partition(":")[0]
        for each in [*service["volumes"], *service["tmpfs"]]
    }
    assert written == {"/tmp", "/var/lib/synfire", "/var/cache/synfire"}
    options = {each.partition(":")[2].partition("=")[0] for each in service["tmpfs"]}
    assert options == {"mode"}  # docker knows more; podman refuses owners


def compose() -> list[str] | None:
    """What reads such a file here: docker may be there without it, and podman-compose 1.0 shows none."""
    asked = (["version"], ["config", "--help"])
    for command in KNOWN:
        if shutil.which(command[0]) and not any(
            subprocess.run([*command, *each], capture_output=True, check=False).returncode for each in asked
        ):
            return command
    return None


def test_compose_takes_the_file_and_asks_for_a_token(tmp_path: Path) -> None:
    if (here := compose()) is None:
        pytest.skip("neither docker compose nor podman-compose is on the path")
    command = [*here, "--file", str(FILE), "config"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNFIRE_")}
    refused = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "put a token into .env" in refused.stderr
    taken = subprocess.run(
        command,
        env={**environment, "SYNFIRE_JOIN_TOKEN": TOKEN},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(yaml.safe_load(taken.stdout)["services"]) == {"serve", "worker"}
