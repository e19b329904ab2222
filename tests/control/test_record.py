"""Recovery records and the journal that keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import Bug, PermanentError
from synfire.control.record import KIND, RecoveryLog, numbers
from synfire.store import Catalog
from synfire.wire.recovery import STEPS, Cause, RecoveryRecord, Step, Touched


def record(number: int = 1, **changes: Any) -> RecoveryRecord:
    """A worker that was killed, and replaced in 41 ms."""
    steps = tuple(Step(name, 1000.0 + 0.005 * i, 0.011) for i, name in enumerate(STEPS))
    values: dict[str, Any] = {
        "id": f"run-{number}",
        "cause": Cause("exit", "worker-1", "ended by signal 9"),
        "models": (Touched("svgg-digits", 3, 4), Touched("srnn-digits", 0, 1)),
        "worker": "worker-1",
        "spare": "spare-0",
        "steps": steps,
        "requests_replayed": 5,
        "sessions_restored": 2,
        "bytes_moved": 123_456,
        "outcome": "recovered",
    }
    return RecoveryRecord(**{**values, **changes})


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "home" / "catalog.sqlite")


def test_a_record_lasts_from_its_first_begin_to_its_last_end() -> None:
    assert record().began_s == 1000.0
    assert record().duration_s == pytest.approx(0.041)


def test_steps_may_overlap_and_the_longest_counts() -> None:
    steps = (Step("detect", 10.0, 9.0), Step("fence", 11.0, 0.5))
    assert record(steps=steps).duration_s == 9.0


def test_records_outlive_the_process_that_kept_them(catalog: Catalog) -> None:
    RecoveryLog(catalog).append(record())
    assert RecoveryLog(Catalog(catalog.path)).recent(10) == (record(),)


def test_the_newest_come_last_and_no_more_than_asked_for(catalog: Catalog) -> None:
    log = RecoveryLog(catalog)
    for number in range(5):
        log.append(record(number))
    assert [each.id for each in log.recent(3)] == ["run-2", "run-3", "run-4"]
    assert len(log.recent(100)) == 5


def test_keeping_a_record_twice_keeps_it_once(catalog: Catalog) -> None:
    log = RecoveryLog(catalog)
    log.append(record())
    log.append(record())
    assert log.recent(10) == (record(),)


def test_another_record_of_the_same_id_is_a_bug_and_changes_nothing(catalog: Catalog) -> None:
    log = RecoveryLog(catalog)
    log.append(record())
    with pytest.raises(Bug, match="ids are given once"):
        log.append(record(spare="spare-1"))
    assert log.recent(10) == (record(),)


def test_the_log_of_a_new_home_is_empty_and_leaves_nothing_there(catalog: Catalog) -> None:
    assert RecoveryLog(catalog).recent(10) == ()
    assert not catalog.path.parent.exists()


def test_records_and_models_share_a_catalog(catalog: Catalog) -> None:
    catalog.add("net", "1" * 64)
    RecoveryLog(catalog).append(record())
    assert [str(entry) for entry in catalog.entries()] == ["net@1"]
    assert len(RecoveryLog(catalog).recent(1)) == 1


@pytest.mark.parametrize(
    "content", ["no json", "{}", msgspec.json.encode(record()).decode().replace('"fence"', '"pray"')]
)
def test_a_record_that_cannot_be_read_is_named_with_its_file(catalog: Catalog, content: str) -> None:
    catalog.append(KIND, "run-1", content)
    with pytest.raises(PermanentError, match=rf"{catalog.path}.*another version of synfire"):
        RecoveryLog(catalog).recent(1)


def test_a_record_of_a_later_version_with_more_to_say_is_still_read(catalog: Catalog) -> None:
    later = {**msgspec.to_builtins(record()), "weather": "fine"}
    catalog.append(KIND, "run-1", msgspec.json.encode(later).decode())
    assert RecoveryLog(catalog).recent(1) == (record(),)


@given(st.sets(st.sampled_from(STEPS), min_size=1), st.floats(0, 4e9), st.floats(0, 1e4))
def test_any_record_reads_as_it_was_written(names: set[str], began_s: float, duration_s: float) -> None:
    written = record(steps=tuple(Step(name, began_s, duration_s) for name in STEPS if name in names))
    assert msgspec.json.decode(msgspec.json.encode(written), type=RecoveryRecord) == written


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (Step("fence", 1.0, 0.1), Step("detect", 2.0, 0.1)),
        (Step("detect", 1.0, 0.1), Step("detect", 2.0, 0.1)),
    ],
)
def test_steps_stand_once_and_in_their_order(steps: tuple[Step, ...]) -> None:
    with pytest.raises(Bug, match="each once, in their order"):
        record(steps=steps)


@pytest.mark.parametrize("outcome", ["degraded", "failed"])
def test_what_did_not_recover_says_why(outcome: str) -> None:
    with pytest.raises(Bug, match="say why in words"):
        record(outcome=outcome)
    assert record(outcome=outcome, reason="no spare of class cpu was left").outcome == outcome


def test_a_step_takes_no_negative_time() -> None:
    with pytest.raises(Bug, match=r"take -0\.1 s"):
        Step("fence", 1.0, -0.1)


def test_all_records_of_one_deployment_are_found_and_those_of_its_controller_by_number(catalog: Catalog) -> None:
    log = RecoveryLog(catalog)
    names = ("run-1", "run-12", "run-gateway-0-1", "run2-3", "run-controller-2")
    for name in names:
        log.append(record(id=name))
    kept = log.kept_of("run")
    assert [each.id for each in kept] == ["run-1", "run-12", "run-gateway-0-1", "run-controller-2"]
    assert numbers(kept, "run") == {1, 12}
    assert RecoveryLog(Catalog(catalog.path.parent / "none.sqlite")).kept_of("run") == ()
