"""`synfire events`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synfire.control.record import RecoveryLog
from synfire.wire.recovery import Cause, RecoveryRecord, Step, Touched


def keep(number: int, **changes: object) -> RecoveryRecord:
    values: dict[str, object] = {
        "id": f"run-{number}",
        "cause": Cause("exit", f"worker-{number}", "ended by signal 9"),
        "models": (Touched("svgg-digits", 3, 4),),
        "worker": f"worker-{number}",
        "spare": "spare-0",
        "steps": (Step("detect", 1000.0, 0.002), Step("fence", 1000.002, 0.001), Step("adopt", 1000.003, 0.04)),
        "requests_replayed": 5,
        "bytes_moved": 12_345,
        "outcome": "recovered",
    }
    record = RecoveryRecord(**{**values, **changes})  # type: ignore[arg-type]
    RecoveryLog().append(record)
    return record


def test_without_a_recovery_it_says_so_and_where(run: Callable, home: Path) -> None:
    ran = run("events")
    assert (ran.code, ran.out) == (0, f"no recovery is on record in {home}\n")
    assert run("events", "--json").json == {"events": []}
    assert not home.exists()


def test_each_recovery_is_one_line_with_its_steps_times_the_newest_last(run: Callable) -> None:
    for number in range(3):
        keep(number)
    lines = run("events").out.splitlines()
    assert len(lines) == 3
    assert [f"worker-{number} → spare-0" in line for number, line in enumerate(lines)] == [True] * 3
    assert "recovered in 43 ms: exit of worker-2 (ended by signal 9)" in lines[2]
    assert "svgg-digits (epoch 3 → 4)" in lines[2]
    assert "detect 2 ms, fence 1 ms, adopt 40 ms" in lines[2]
    assert "5 replayed, 0 sessions restored, 12 kB moved" in lines[2]


def test_a_recovery_without_a_spare_says_what_is_lost(run: Callable) -> None:
    keep(0, spare="", outcome="degraded", reason="no spare of class cpu was left: svgg-digits is refused")
    (line,) = run("events").out.splitlines()
    assert "degraded in 43 ms" in line
    assert line.endswith("· no spare of class cpu was left: svgg-digits is refused")
    assert "→ ·" not in line


def test_recoveries_of_several_deployments_are_named_and_those_of_one_need_no_name(run: Callable) -> None:
    keep(0, deployment="d0a1")
    keep(1, deployment="d0a1")
    assert "d0a1" not in run("events").out
    keep(2, deployment="e1b2")
    keep(3)
    names = [line.split("  ")[1] for line in run("events").out.splitlines()]
    assert names == ["d0a1", "d0a1", "e1b2", "unnamed"]
    assert "d0a1" not in run("events", "--last", "2").out
    told = run("events", "--json").json["events"]
    assert [each["deployment"] for each in told] == ["d0a1", "d0a1", "e1b2", ""]


def test_a_process_that_was_begun_again_is_named_once_with_what_became_of_it(run: Callable) -> None:
    keep(0, cause=Cause("gateway lost", "gateway-1", "process 41 was killed by SIGKILL"), worker="gateway-1", spare="")
    (line,) = run("events").out.splitlines()
    assert "43 ms: gateway lost: gateway-1 (process 41 was killed by SIGKILL) · svgg-digits" in line


def test_last_limits_the_list(run: Callable) -> None:
    for number in range(4):
        keep(number)
    assert [each["id"] for each in run("events", "--last", "2", "--json").json["events"]] == ["run-2", "run-3"]


def test_json_holds_the_whole_record_and_its_times(run: Callable) -> None:
    keep(7)
    (event,) = run("events", "--json").json["events"]
    assert event["cause"] == {"kind": "exit", "target": "worker-7", "detail": "ended by signal 9"}
    assert [step["name"] for step in event["steps"]] == ["detect", "fence", "adopt"]
    assert (event["began_s"], event["duration_s"]) == (1000.0, pytest.approx(0.043))


def test_a_number_of_events_below_one_is_refused(run: Callable) -> None:
    ran = run("events", "--last", "0")
    assert ran.code == 2
    assert "--last" in ran.err
