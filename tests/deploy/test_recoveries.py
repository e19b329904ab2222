"""Recoveries are counted by what is on record, each once, whoever has written it down."""

from __future__ import annotations

from pathlib import Path

from synfire.control.record import RecoveryLog
from synfire.control.state import Recovery
from synfire.deploy.recoveries import LocalRecoveries
from synfire.store import Catalog


def recovery(number: int, cause: str = "exit") -> Recovery:
    return Recovery(number, cause, "w1", 1.0, 1.0, (), (), ended_s={"detect": 1.0})


def recoveries(folder: Path, deployment: str = "run") -> LocalRecoveries:
    return LocalRecoveries(deployment, 0, lambda: 0, dict, RecoveryLog(Catalog(folder / "catalog.sqlite")))


def test_a_new_controller_counts_on_from_what_is_on_record(tmp_path: Path) -> None:
    recoveries(tmp_path, "other").keep(recovery(1))
    before = recoveries(tmp_path)
    before.keep(recovery(1))
    before.keep(recovery(2, "hang"))
    after = recoveries(tmp_path)
    assert after.recall() == {1, 2}
    assert after.counts == before.counts == {("exit", "recovered"): 1, ("hang", "recovered"): 1}
    after.keep(recovery(3))
    assert after.counts["exit", "recovered"] == 2


def test_what_somebody_else_has_recorded_counts_once_also_when_it_is_told_and_read(tmp_path: Path) -> None:
    one = recoveries(tmp_path)
    one.count("run-gateway-0-1", "gateway lost", "recovered")
    one.count("run-gateway-0-1", "gateway lost", "recovered")
    assert one.recall() == frozenset()
    assert one.counts == {("gateway lost", "recovered"): 1}


def test_records_name_their_deployment(tmp_path: Path) -> None:
    one = recoveries(tmp_path)
    one.keep(recovery(1))
    assert [(each.id, each.deployment) for each in one.recent(9)] == [("run-1", "run")]
