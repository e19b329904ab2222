"""Emulated hosts: cables that are really cut, and nothing that is left behind."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.deploy import network
from synfire.deploy.faults import Options, Scene, inject
from synfire.deploy.folders import sweep
from synfire.deploy.hosts import chosen
from synfire.deploy.network import Cable, Host, Passage
from synfire.plan.plan import Plan, Stage

rooted = pytest.mark.skipif(bool(network.impossible()), reason=network.impossible())

ECHO = """import socket, sys
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
while data := connection.recv(100):
    connection.sendall(data)
"""

SILENCE_S = 0.3
"""Several times what TCP takes to send again."""


@contextmanager
def laid(count: int = 2) -> Iterator[tuple[Host, ...]]:
    deployment = uuid.uuid4().hex[:8]
    hosts = network.lay(deployment, count)
    try:
        yield hosts
    finally:
        network.remove(deployment)


@contextmanager
def echo(host: Host) -> Iterator[socket.socket]:
    """A connection to a process on the host that says everything again."""
    command = [*host.inside, sys.executable, "-c", ECHO, host.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with socket.create_connection((host.address, int(process.stdout.readline()))) as connection:
            yield connection


def heard(connection: socket.socket, timeout_s: float) -> bytes | None:
    """What arrives; nothing when the connection was closed, and None while all is silent."""
    ready, _, _ = select.select([connection], [], [], timeout_s)
    return connection.recv(100) if ready else None


def reaches(here: Host, there: Host, port: str) -> bool:
    """Whether a connection from one host to a port on another can be opened."""
    ask = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5).close()"
    command = [*here.inside, sys.executable, "-c", ask, there.address, port]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def traces(deployment: str) -> list[str]:
    interfaces = [each.name for each in Path("/sys/class/net").glob(f"sy{deployment}*")]
    return [*interfaces, *(each.name for each in Path("/run/netns").glob(f"synfire-{deployment}-*"))]


@rooted
def test_a_cut_cable_is_silent_and_a_mended_one_brings_what_was_sent_meanwhile() -> None:
    with laid() as (_, host), echo(host) as connection:
        connection.sendall(b"one")
        assert heard(connection, 10.0) == b"one"
        inject("link-partition", "host-1", Scene(deployment=host.deployment), Options(), lambda act: None)
        assert not Cable.of(host.deployment, "host-1").whole
        connection.sendall(b"two")
        assert heard(connection, SILENCE_S) is None
        inject("link-partition", "host-1", Scene(deployment=host.deployment), Options(), lambda act: None)
        assert Cable.of(host.deployment, "host-1").whole
        assert heard(connection, 10.0) == b"two"


@rooted
def test_a_cable_that_is_cut_for_a_time_is_mended_then() -> None:
    acts: list[tuple[str, bool]] = []
    with laid() as (host, _):
        scene = Scene(deployment=host.deployment)
        inject(
            "link-partition",
            "host-0",
            scene,
            Options(for_s=0.01),
            lambda act: acts.append((act.target, host.cable.whole)),
        )
        assert acts == [("host-0", False), ("host-0", True)]


@rooted
def test_hosts_reach_each_other_and_a_cut_one_is_alone() -> None:
    with laid(3) as (first, second, third), echo(third) as connection:
        port = str(connection.getpeername()[1])
        second.cable.cut()
        assert [reaches(each, third, port) for each in (first, second)] == [True, False]


@rooted
@pytest.mark.parametrize("target", ["host-0:host-2", "host-2:host-0"])
def test_two_hosts_that_do_not_reach_each_other_reach_all_others_and_mended_each_other(target: str) -> None:
    with laid(3) as (first, second, third), echo(third) as connection:
        port, scene = str(connection.getpeername()[1]), Scene(deployment=first.deployment)
        assert reaches(first, third, port)
        inject("link-partition", target, scene, Options(), lambda act: None)
        assert [reaches(each, third, port) for each in (first, second)] == [False, True]
        connection.sendall(b"one")
        assert heard(connection, 10.0) == b"one"
        inject("link-partition", target, scene, Options(), lambda act: None)
        assert reaches(first, third, port)


@rooted
def test_hosts_that_are_kept_apart_for_a_time_are_joined_then() -> None:
    acts: list[tuple[str, bool]] = []
    with laid() as (host, _):
        scene, passage = Scene(deployment=host.deployment), Passage(host.deployment, (0, 1))
        inject(
            "link-partition",
            "host-0:host-1",
            scene,
            Options(for_s=0.01),
            lambda act: acts.append((act.target, passage.whole)),
        )
        passage.mend()  # what is whole stays so
        assert acts == [("host-0:host-1", False), ("host-0:host-1", True)]
    assert not passage.whole


@rooted
def test_only_two_hosts_that_there_are_can_be_kept_apart() -> None:
    with laid() as hosts:
        with pytest.raises(UnknownName, match="'host-7'; known: host-0, host-1"):
            Passage.of(hosts[0].deployment, "host-0", "host-7")
        with pytest.raises(UserError, match="name two hosts, such as host-0:host-1"):
            Passage.of(hosts[0].deployment, "host-1", "host-1")


@rooted
def test_nothing_is_left_and_removing_twice_is_no_error() -> None:
    with laid() as hosts:
        deployment = hosts[0].deployment
        assert len(traces(deployment)) == 5
        network.remove(deployment)
        assert traces(deployment) == []


@rooted
def test_hosts_whose_process_was_killed_are_swept_and_others_stay() -> None:
    laying = "import sys; from synfire.deploy.network import lay; lay(sys.argv[1], 2)"
    dead, inhabited = uuid.uuid4().hex[:8], uuid.uuid4().hex[:8]
    with laid() as mine:
        try:
            for deployment in (dead, inhabited):
                subprocess.run([sys.executable, "-c", laying, deployment], check=True)
            pipe = subprocess.PIPE
            with subprocess.Popen([*Host(inhabited, 1, "").inside, "cat"], stdin=pipe, stdout=pipe, bufsize=0) as cat:
                assert cat.stdin is not None
                assert cat.stdout is not None
                cat.stdin.write(b"here\n")
                assert cat.stdout.read(5) == b"here\n"
                sweep()
                assert traces(dead) == []
                assert len(traces(inhabited)) == len(traces(mine[0].deployment)) == 5
            sweep()
            assert traces(inhabited) == []
        finally:
            network.remove(dead)
            network.remove(inhabited)


@rooted
def test_hosts_stay_as_long_as_the_process_whose_they_are() -> None:
    laying = "import os, sys; from synfire.deploy.network import lay; lay(sys.argv[1], 1, os.getppid())"
    deployment = uuid.uuid4().hex[:8]
    try:
        subprocess.run([sys.executable, "-c", laying, deployment], check=True)
        sweep()
        assert len(traces(deployment)) == 3
        cable = Cable.of(deployment, "host-0")
        assert cable.whole
    finally:
        network.remove(deployment)
    assert not cable.whole


@rooted
def test_two_deployments_have_networks_of_their_own() -> None:
    with laid(1) as (one,), laid(1) as (other,):
        assert one.address.rpartition(".")[0] != other.address.rpartition(".")[0]


@rooted
def test_an_unknown_host_is_named_with_those_that_there_are() -> None:
    with laid() as hosts, pytest.raises(UnknownName, match="'host-7'; known: host-0, host-1"):
        Cable.of(hosts[0].deployment, "host-7")


def test_without_hosts_there_is_nothing_to_cut() -> None:
    with pytest.raises(UserError, match="start it with: serve … --hosts 3"):
        inject("link-partition", "host-0", Scene(deployment="none"), Options(), lambda act: None)


def test_hosts_without_root_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UserError, match="run as root, or leave --hosts out"):
        network.lay("none", 2)
    assert "run as root" in network.impossible()


@pytest.mark.parametrize("count", [0, 65])
def test_too_few_and_too_many_hosts_are_refused(count: int) -> None:
    with pytest.raises(UserError, match="ask for 1 to 64"):
        network.lay("none", count)


HOSTS = tuple(Host("d", number, f"10.0.0.{number + 2}") for number in range(3))


def plan(*workers: str) -> Plan:
    stages = tuple(Stage(name=f"s{n}", operators=(f"o{n}",), worker=worker) for n, worker in enumerate(workers))
    return Plan(model="m", granularity="operator", stages=stages, links=(), frame_steps=4)


def placed(names: list[str], plans: list[Plan], lost: tuple[Host, ...] = (), spares: bool = True) -> dict[str, str]:
    homes: dict[str, Host] = {}
    for name in names:
        homes[name] = chosen(name, HOSTS, homes, plans, lost, spares)
    return {name: host.name for name, host in homes.items()}


def test_spares_have_a_host_without_stages() -> None:
    homes = placed(["w0", "w1", "w2", "spare-0", "spare-1"], [plan("w0", "w1", "w2")])
    assert [homes[name] for name in ("w0", "w1", "w2")] == ["host-0", "host-1", "host-0"]
    assert homes["spare-0"] == homes["spare-1"] == "host-2"


def test_without_spares_workers_are_on_all_hosts() -> None:
    assert set(placed(["w0", "w1", "w2"], [plan("w0", "w1", "w2")], spares=False).values()) == {
        "host-0",
        "host-1",
        "host-2",
    }


def test_nobody_is_started_on_a_host_that_is_lost() -> None:
    assert placed(["w0", "w1", "spare-0"], [plan("w0", "w1")], lost=HOSTS[2:])["spare-0"] in ("host-0", "host-1")


def test_a_new_spare_goes_where_the_fewest_stages_are() -> None:
    homes = {"w0": HOSTS[0], "w1": HOSTS[1], "spare-0": HOSTS[2]}
    assert chosen("spare-1", HOSTS, homes, [plan("w0", "spare-0", "spare-0")], (), True) == HOSTS[1]
