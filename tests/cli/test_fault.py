"""`synfire fault`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import serving, tiny

from synfire.base.processes import born
from synfire.cli.docs import reference
from synfire.deploy.faults import FAULTS, TYPED
from synfire.formats import write_bundle
from synfire.store import BlobStore


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A deployment for tests that leave it alive, and its SYNFIRE_HOME."""
    folder = tmp_path_factory.mktemp("served")
    write_bundle(tiny(), folder / "tiny")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SYNFIRE_HOME", str(folder / "home"))
        with serving([str(folder / "tiny"), "-g", "operator", "--apart"]) as (_, ready):
            yield folder / "home", ready


@pytest.fixture
def ready(served: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SYNFIRE_HOME", str(served[0]))
    return served[1]


def section(verb: str) -> str:
    """What the reference says of a verb."""
    return next(each for each in reference().split("\n## synfire ") if each.startswith(verb))


def pids(ready: dict[str, Any]) -> dict[str, int]:
    return {each["name"]: each["pid"] for each in ready["workers"]}


def test_list_names_all_kinds_and_what_each_does(run: Callable) -> None:
    found = run("fault", "--list", "--json").json["faults"]
    assert set(found) == set(FAULTS)
    assert found["worker-stop"]["options"] == ["--id", "--for"]
    assert found["disk-full"]["options"] == ["--for"]
    listed = run("fault", "--list").out
    assert all(name in listed for name in FAULTS)
    assert run("fault").out == listed


def test_help_says_of_each_option_which_kinds_take_it() -> None:
    for field, option in TYPED.items():
        (said,) = [line for line in section("fault").splitlines() if f"`{option}" in line]
        takers = [name for name in FAULTS if field in FAULTS[name].takes]
        assert ", ".join(sorted(takers)) in said
    (said,) = [line for line in section("fault").splitlines() if "`--id" in line]
    assert all(name in said for name in FAULTS if FAULTS[name].on == "home")


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("worker-melt", "worker-0"), "worker-kill, worker-slow, worker-stop"),
        (("worker-kill", "worker-0"), "no deployment is running"),
        (("worker-stop", "worker-0", "--for", "-1"), "above 0"),
        (("blob-corrupt", "00", "--id", "8000"), "leave out --id"),
        (("blob-corrupt", "00"), "no blob in"),
        (("disk-full", "--delay", "1"), "--delay has no effect on disk-full, so leave it out; it is for link-delay"),
        (("--list", "--for", "1"), "leave them out"),
    ],
)
def test_mistakes_are_told_with_the_cure(run: Callable, arguments: tuple[str, ...], cure: str) -> None:
    ran = run("fault", *arguments, "--json")
    assert ran.code == 2
    assert cure in ran.json["error"]


@pytest.mark.slow
def test_unknown_worker_or_deployment_changes_nothing(run: Callable, ready: dict[str, Any]) -> None:
    before = {name: born(pid) for name, pid in pids(ready).items()}
    ran = run("fault", "worker-kill", "worker-9", "--json")
    assert ran.code == 2
    assert "known: worker-0, worker-1" in ran.json["error"]
    assert run("fault", "worker-kill", "worker-0", "--id", "1", "--json").code == 2
    assert run("fault", "host-lost", "worker-0,worker-9", "--json").code == 2
    assert {name: born(pid) for name, pid in pids(ready).items()} == before


@pytest.mark.slow
def test_stop_for_a_moment_is_told_with_process_and_time(run: Callable, ready: dict[str, Any]) -> None:
    found = run("fault", "worker-stop", "worker-0", "--for", "0.05", "--json").json
    assert (found["fault"], found["deployment"]) == ("worker-stop", ready["url"].rpartition(":")[2])
    assert [act["did"] for act in found["acts"]] == ["SIGSTOP", "SIGCONT"]
    assert {act["pid"] for act in found["acts"]} == {pids(ready)["worker-0"]}
    assert found["acts"][1]["at_s"] - found["acts"][0]["at_s"] >= 0.05


@pytest.mark.slow
def test_slow_worker_answers_meanwhile_and_afterwards(run: Callable, ready: dict[str, Any]) -> None:
    ran = run("fault", "worker-slow", "worker-1", "--for", "0.2", "--share", "0.6")
    assert ran.code == 0
    first, last = ran.out.splitlines()
    assert f"worker-1 (process {pids(ready)['worker-1']}): slowed to 0.6 of the time" in first
    assert "runs freely again after" in last
    assert run("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json").code == 0


@pytest.mark.slow
def test_killed_worker_is_made_good(run: Callable, bundle: Path) -> None:
    with serving([str(bundle), "-g", "operator", "--apart", "--spares", "1"]) as (process, ready):
        asked = ("infer", "tiny", "--digit", "5", "--url", ready["url"], "--json")
        before = run(*asked).json
        (act,) = run("fault", "worker-kill", "worker-0", "--json").json["acts"]
        assert act["pid"] == pids(ready)["worker-0"]
        assert run(*asked).json == before
        (gateway,) = (each for each in run("ps", "--json").json["deployments"][0]["roles"] if each["url"])
        (act,) = run("fault", "gateway-kill", "--json").json["acts"]
        assert (act["target"], act["pid"]) == ("gateway-0", gateway["pid"])
        (act,) = run("fault", "controller-kill", "--json").json["acts"]
        assert act["target"] == "controller"
        assert run(*asked).json == before  # the port's queue holds the call until the next gateway is there
        assert process.poll() is None
    first, *roles = run("events", "--json").json["events"]
    assert (first["worker"], first["outcome"]) == ("worker-0", "recovered")
    assert first["cause"]["kind"] in ("exit", "broken link")  # whichever is heard of first
    assert {each["cause"]["kind"] for each in roles} <= {"controller lost", "gateway lost"}


def test_blob_is_corrupted_without_a_deployment(run: Callable) -> None:
    digest = BlobStore().put(b"weights")
    found = run("fault", "blob-corrupt", digest[:8], "--json").json
    assert found["deployment"] is None
    assert found["acts"][0]["target"] == digest
    assert digest[2:] in run("fault", "blob-corrupt", digest).out
