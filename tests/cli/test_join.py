"""Workers of other machines, each in a network namespace of its own: they join, take over, and are lost in every way; no call is."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import serving, tiny

from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.control.record import RecoveryLog
from synfire.deploy import network
from synfire.deploy.network import Host
from synfire.formats.bundle import write_bundle
from synfire.testing.callers import Callers, until
from synfire.zoo import sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(network.impossible()), reason=network.impossible()),
]
TOKEN = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        monkeypatch.setenv("SYNFIRE_JOIN_TOKEN", TOKEN)
        yield Path(folder)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, ...]]:
    """Two machines beside this one."""
    name = uuid.uuid4().hex[:8]
    laid = network.lay(name, 2)
    yield laid
    network.remove(name)


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_bundle(tiny(), tmp_path / "tiny")
    return f"tiny={tmp_path / 'tiny'}"


def ours(hosts: Sequence[Host]) -> str:
    """This machine's address in their network."""
    return str(ipaddress.ip_address(hosts[0].address) - 1)


class Remote:
    """`synfire worker` on another machine, which shares no folder with this one but that of compiled kernels."""

    def __init__(self, host: Host, door: str, *more: str, token: str = TOKEN) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="sf")
        command = [*host.inside, sys.executable, "-m", "synfire", "worker", "--join", door, "--json", *more]
        environment = {**os.environ, "SYNFIRE_HOME": self.home.name, "SYNFIRE_JOIN_TOKEN": token}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def joined(self) -> dict[str, Any]:
        """What it says when it has joined; waits for that."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        said: dict[str, Any] = json.loads(line)
        return said

    def leave(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.home.cleanup()


@contextmanager
def remote(host: Host, door: str, *more: str, token: str = TOKEN) -> Iterator[Remote]:
    made = Remote(host, door, *more, token=token)
    try:
        yield made
    finally:
        made.close()


def record() -> runs.Run:
    (run,) = runs.running()
    return run


def workers() -> dict[str, str]:
    """The workers that `ps` knows, each with its host."""
    return {each.name: each.host for each in record().workers}


def stages_on(name: str) -> list[str]:
    return [stage for each in record().models for stage in each.stages_on(name)]


def causes() -> list[str]:
    return [each.cause.kind for each in RecoveryLog().recent(99)]


def calling(url: str) -> Callers:
    return Callers(url, "tiny", sample(tiny()), run_here(tiny(), sample(tiny())))


@contextmanager
def deployment(model: str, hosts: Sequence[Host], *more: str) -> Iterator[tuple[dict[str, Any], str]]:
    """What `serve` says of a deployment with one worker of its own, and the place of its door.

    Who has joined takes over only when it counts as a spare: before that another worker is begun here.
    """
    arguments = [model, "--workers", "1", "--join", f"{ours(hosts)}:0", *more]
    with serving(arguments) as (_, said):
        yield said, said["join"]["address"]


def test_a_worker_of_another_machine_takes_over_is_killed_and_comes_again(model, hosts):
    with deployment(model, hosts) as (said, door), remote(hosts[0], door, "--name", "far", "--group", "rack") as far:
        assert said["join"]["token"] == ""
        joined = far.joined()
        assert joined["address"].startswith(f"tls://{hosts[0].address}:")
        until(lambda: workers().get("far") == "rack" and record().spares == 1)
        assert [(each.name, each.joined, each.alive) for each in record().workers] == [
            ("far", True, True),
            ("worker-0", False, True),
        ]
        with calling(said["url"]) as callers:
            os.kill(said["workers"][0]["pid"], signal.SIGKILL)
            until(lambda: stages_on("far") != [])
            callers.go_on()
            os.kill(joined["pid"], signal.SIGKILL)
            again = far.joined()
            until(lambda: len(causes()) == 2)
            callers.go_on()
        callers.check("own worker killed, then the other machine's")
        assert again["pid"] != joined["pid"]
        until(lambda: "far" in workers())
    assert causes()[1] in ("exit", "broken link")


def test_sigterm_moves_the_stages_first_and_then_ends_with_0(model, hosts):
    with deployment(model, hosts) as (said, door), remote(hosts[0], door, "--name", "far") as far:
        far.joined()
        until(lambda: record().spares == 1)
        os.kill(said["workers"][0]["pid"], signal.SIGKILL)
        until(lambda: stages_on("far") != [])
        with calling(said["url"]) as callers:
            assert far.leave() == 0
            callers.go_on()
        callers.check("SIGTERM to the other machine's worker")
        until(lambda: "far" not in workers())
        until(lambda: causes()[1:] == ["leaving"])


def test_a_drain_leaves_everything_to_workers_of_other_machines_which_send_to_each_other(model, hosts):
    with (
        deployment(model, hosts, "-g", "operator", "--apart", "--workers", "2") as (said, door),
        remote(hosts[0], door, "--name", "far", "--group", "one") as far,
        remote(hosts[1], door, "--name", "near", "--group", "other") as near,
    ):
        far.joined()
        near.joined()
        until(lambda: {"far", "near"} <= set(workers()))
        with calling(said["url"]) as callers:
            for verb in (("rebalance",), ("drain", "worker-0"), ("drain", "worker-1"), ("rebalance",)):
                subprocess.run([sys.executable, "-m", "synfire", *verb], check=True, capture_output=True)
                callers.go_on()
            until(lambda: workers().keys() == {"far", "near"})
            assert stages_on("far") != []
            assert stages_on("near") != []
            callers.go_on()
        callers.check("everything moved to other machines")


def test_a_machine_that_is_cut_off_is_fenced_and_its_worker_comes_again_when_it_is_back(model, hosts):
    with (
        deployment(model, hosts) as (said, door),
        remote(hosts[0], door, "--name", "far", "--group", "one") as far,
        remote(hosts[1], door, "--name", "near", "--group", "other") as near,
    ):
        first = far.joined()
        near.joined()
        until(lambda: record().spares == 2)
        os.kill(said["workers"][0]["pid"], signal.SIGKILL)
        until(lambda: bool(stages_on("far") or stages_on("near")))
        lost, kept = ("far", "near") if stages_on("far") else ("near", "far")
        host = hosts[0] if lost == "far" else hosts[1]
        with calling(said["url"]) as callers:
            host.cable.cut()
            until(lambda: stages_on(kept) != [])
            callers.go_on()
            until(lambda: lost not in workers())
            host.cable.mend()
            again = (far if lost == "far" else near).joined()
            callers.go_on()
        callers.check("machine cut off")
        assert again["pid"] != first["pid"]
        assert again["name"] == lost
        until(lambda: lost in workers())
        until(lambda: causes()[1:] == ["hang"])


def port_of(host: Host, pid: int) -> str:
    """Where a worker of this machine listens for those of others."""
    listening = subprocess.run(["ss", "-Hltnp", "src", ours([host])], capture_output=True, text=True, check=True).stdout
    (line,) = [each for each in listening.splitlines() if f"pid={pid}," in each]
    return line.split()[3].rpartition(":")[2]


def test_a_machine_that_does_not_reach_a_worker_of_the_deployments_own_is_noticed(model, hosts):
    with (
        deployment(model, hosts, "-g", "operator", "--apart", "--workers", "2") as (said, door),
        remote(hosts[0], door, "--name", "far", "--group", "rack") as far,
    ):
        far.joined()
        until(lambda: record().spares == 1)
        pids = {each["name"]: each["pid"] for each in said["workers"]}
        (plan,) = httpx.get(f"{said['url']}/api/plans").json()
        home = {each["name"]: each["worker"] for each in plan["stages"]}
        ways = [(home.get(each["sender"]), home.get(each["receiver"])) for each in plan["links"]]
        sender, receiver = next((one, other) for one, other in ways if one and other and one != other)
        os.kill(pids[sender], signal.SIGKILL)
        until(lambda: stages_on("far") != [] and len(causes()) == 1)
        with calling(said["url"]) as callers:
            rule = ["to", ours(hosts), "ipproto", "tcp", "dport", port_of(hosts[0], pids[receiver]), "unreachable"]
            subprocess.run([*hosts[0].inside, "ip", "rule", "add", *rule], check=True)
            until(lambda: causes()[-1] == "severed link")
            callers.go_on()
        callers.check("another machine cut off from one worker of the deployment's own")
        cut = RecoveryLog().recent(9)[-1]
        assert cut.cause.detail == f"far on rack cannot reach {receiver}"


def test_a_controller_that_is_killed_finds_the_workers_that_have_joined_and_those_that_join_meanwhile(model, hosts):
    with deployment(model, hosts) as (said, door), remote(hosts[0], door, "--name", "far") as far:
        pid = far.joined()["pid"]
        until(lambda: record().spares == 1)
        os.kill(said["workers"][0]["pid"], signal.SIGKILL)
        until(lambda: stages_on("far") != [])
        until(lambda: len(causes()) == 1)
        with calling(said["url"]) as callers:
            controller = next(each for each in record().roles if each.name == "controller")
            os.kill(controller.pid, signal.SIGKILL)
            with remote(hosts[1], door, "--name", "late") as late:
                late.joined()
                until(lambda: len(causes()) == 2)
                until(lambda: workers().keys() == {"far", "late"} and record().spares == 1)
                os.kill(pid, signal.SIGKILL)
                until(lambda: stages_on("late") != [])
                callers.go_on()
        callers.check("controller killed, then the worker that it found")


def test_a_worker_waits_for_a_deployment_that_was_away(model, hosts):
    with deployment(model, hosts) as (_, door):
        far = Remote(hosts[0], door, "--name", "far")
        first = far.joined()
    try:
        with serving([model, "--workers", "1", "--join", door]):
            again = far.joined()
            until(lambda: "far" in workers())
        assert far.process.poll() is None
        assert far.leave() == 0
    finally:
        far.close()
    assert again["deployment"] != first["deployment"]


def test_who_cannot_join_is_told_why_and_changes_nothing(model, hosts):
    with deployment(model, hosts) as (said, door), remote(hosts[0], door, "--name", "far", "--group", "rack") as far:
        far.joined()
        until(lambda: workers().get("far") == "rack")
        before = workers()
        cases = (
            (("--name", "other"), "f" * 64, "give both sides the same token"),
            (("--name", "far"), TOKEN, "choose another one with --name"),
            (("--name", "worker-0"), TOKEN, "which are the deployment's own"),
            (("--name", "other", "--address", "127.0.0.1"), TOKEN, "was not reached at tls://127.0.0.1"),
            (("--name", "other", "--device", "warp"), TOKEN, "warp"),
        )
        for more, token, words in cases:
            with remote(hosts[1], door, *more, token=token) as other:
                told, _ = other.process.communicate(timeout=120)
                assert other.process.returncode == 2, told
                assert words in json.loads(told)["error"]
        assert workers() == before
        with calling(said["url"]) as callers:
            callers.go_on()
        callers.check("others refused")
