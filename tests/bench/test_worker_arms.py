"""The arms in which workers hang, hosts are cut off, sessions go on, and nothing fails at all."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from synfire.base import paths
from synfire.bench.arms import Conditions
from synfire.bench.arms import overhead as overhead_arm
from synfire.bench.arms.deployed import CALLS, DIGITS, cases, session_cases
from synfire.bench.arms.membrane import Membrane
from synfire.bench.arms.overhead import Overhead
from synfire.bench.arms.partition import Partition
from synfire.bench.arms.sessions import Sessions
from synfire.bench.arms.severed import Severed, _together
from synfire.bench.arms.workers import Hang, UnderLoad
from synfire.bench.trials import Found, Trial
from synfire.bench.witness import ID, SESSION, Case, Seen
from synfire.cli import main
from synfire.deploy.planning import plan_models
from synfire.wire.recovery import Cause, RecoveryRecord, Step, Touched
from synfire.zoo import find

ARMS = ("hang", "sessions", "membrane", "partition", "severed")
HARMLESS = {"lost": 0, "wrong": 0, "duplicated": 0, "outage_p50_s": 0.2, "outage_p99_s": 0.5}


def promised(arm: UnderLoad, **changes: float) -> dict[str, tuple[str, float, bool]]:
    return {each.name: (each.op, each.limit, each.holds) for each in arm.floors({**HARMLESS, **changes})}


def test_a_hang_is_promised_to_harm_nobody_and_to_last_600_ms() -> None:
    assert promised(Hang()) == {
        "hang_lost": ("==", 0, True),
        "hang_wrong": ("==", 0, True),
        "hang_duplicated": ("==", 0, True),
        "hang_outage_p99_ms": ("<=", 600, True),
    }
    assert promised(Hang(), outage_p99_s=0.61)["hang_outage_p99_ms"] == ("<=", 600, False)


def test_a_partition_is_promised_to_harm_nobody_and_to_last_600_ms() -> None:
    assert promised(Partition(), outage_p99_s=0.61, wrong=1) == {
        "partition_lost": ("==", 0, True),
        "partition_wrong": ("==", 0, False),
        "partition_duplicated": ("==", 0, True),
        "partition_outage_p99_ms": ("<=", 600, False),
    }


def test_sessions_are_promised_to_go_on_right() -> None:
    assert promised(Sessions(), wrong=1)["session_wrong"] == ("==", 0, False)
    assert set(promised(Sessions())) == {"session_wrong", "session_lost", "session_duplicated"}


@pytest.mark.parametrize(("arm", "name"), [(Membrane(), "membrane"), (Severed(), "severed")])
def test_flipped_membranes_and_severed_links_are_promised_to_harm_nobody(arm: UnderLoad, name: str) -> None:
    assert set(promised(arm)) == {f"{name}_lost", f"{name}_wrong", f"{name}_duplicated"}
    assert promised(arm, wrong=1)[f"{name}_wrong"] == ("==", 0, False)


def test_trials_in_deployments_of_their_own_count_as_those_of_one_run() -> None:
    record = RecoveryRecord(
        id="x",
        cause=Cause("severed link", "w0"),
        models=(Touched("m", 0, 1),),
        worker="w0",
        steps=(Step("detect", 0.0, 0.1),),
        outcome="recovered",
    )
    trials = [Trial(at_s, at_s, "w0", record, 1.0) for at_s in (1.0, 2.0)]
    both = _together(
        [
            Found(
                (trial,),
                {"m": Seen(np.array([n]).tobytes(), np.array([n + 1.0]).tobytes(), b"\0", 1, [f"c{n}"])},
                {"m": 2},
                3,
            )
            for n, trial in zip((1.0, 2.0), trials, strict=True)
        ]
    )
    assert (both.trials, both.replays, both.unprovoked) == (tuple(trials), {"m": 4}, 6)
    seen = both.seen["m"]
    assert (seen.sent_s.tolist(), seen.ended_s.tolist()) == ([1.0, 2.0], [2.0, 3.0])
    assert (len(seen.verdict), seen.duplicated, seen.complaints) == (2, 2, ["c1.0", "c2.0"])


@pytest.mark.parametrize(("arm", "name"), [(Partition(), "partition"), (Severed(), "severed")])
def test_a_partition_is_skipped_with_the_reason_where_there_are_no_namespaces(
    arm: UnderLoad, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"synfire.bench.arms.{name}.impossible", lambda: "not here")
    said: list[str] = []
    outcome = arm.measure(Conditions(("scnn-digits",)), said.append)
    assert said == [f"{name}: skipped: not here"]
    assert outcome.details == {f"{name} skipped": "not here"}
    assert (outcome.rows, outcome.floors) == ((), ())


def asked(case: Case) -> dict[str, object]:
    body = base64.b64decode(case.request).partition(b"\r\n\r\n")[2]
    parameters = re.search(rb'"parameters":(\{[^{}]*"sequence_id"[^{}]*\})', body)
    return json.loads(parameters[1]) if parameters else {}


def test_a_session_begins_goes_on_and_ends_and_its_answers_depend_on_what_was_before() -> None:
    (planned,) = plan_models([find("scnn-digits")], "operator", 2)
    in_sessions, alone = session_cases(planned, "http://x"), cases(planned, "http://x")
    assert [each.first for each in in_sessions[: CALLS + 1]] == [True, *[False] * (CALLS - 1), True]
    flags = [asked(each) for each in in_sessions[:CALLS]]
    assert [each["sequence_start"] for each in flags] == [True, *[False] * (CALLS - 1)]
    assert [each["sequence_end"] for each in flags] == [*[False] * (CALLS - 1), True]
    assert {each["sequence_id"] for each in flags} == {SESSION}
    assert not any(asked(each) for each in alone)
    answers = [each.answer for each in in_sessions]
    assert len(answers) == len(alone) == DIGITS
    assert answers[0] == alone[0].answer
    assert sum(one != other.answer for one, other in zip(answers, alone, strict=True)) > DIGITS // 2
    assert len(ID) == len(SESSION)


def test_the_ratio_of_each_pair_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([100.0, 98.0, 50.0, 49.0, 200.0, 100.0])  # the machine is another in each pair

    class Nothing:
        url = ""

        def __enter__(self) -> Nothing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def until_warm(self) -> None: ...

    monkeypatch.setattr(overhead_arm, "PAIRS", 3)
    monkeypatch.setattr(overhead_arm, "planned_for", lambda *_: ())
    monkeypatch.setattr(overhead_arm, "deployed", lambda *_: Nothing())
    monkeypatch.setattr(overhead_arm.random.Random, "sample", lambda self, both, count: [False, True])
    monkeypatch.setattr(overhead_arm, "_rates", lambda *_: {"all": next(rates)})
    outcome = Overhead().measure(Conditions(()), lambda words: None)
    (row,) = outcome.rows
    assert row["ratios"] == pytest.approx([100 / 98, 50 / 49, 2.0])
    assert (row["trials"], row["without_requests_s"], row["with_requests_s"]) == (3, 100.0, 98.0)
    (floor,) = outcome.floors
    assert (floor.name, floor.op, floor.limit, floor.holds) == ("overhead_ratio", "<=", 1.03, True)
    assert floor.value == pytest.approx(100 / 98)
    chapter = Overhead().chapter(outcome.rows)
    assert chapter is not None
    assert "overhead" in chapter.sections[-1]


@pytest.mark.slow
def test_a_quick_run_of_each_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(paths.cache()))
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(overhead_arm, "SETTLE_S", 0.1)
    monkeypatch.setattr(overhead_arm, "COUNTED_S", 0.5)
    file, folder = tmp_path / "recovery.json", tmp_path / "report"
    arms = [each for name in (*ARMS, "overhead") for each in ("--only", name)]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "recovery", "--quick", *arms, "--json", str(file), "--report", str(folder)])
    assert not ended.value.code
    written = json.loads(file.read_text())
    found = {each["arm"]: each for each in written["rows"] if each["family"] == "all"}
    skipped = {name for name in ARMS if f"{name} skipped" in written["settings"]}
    assert set(found) == {*ARMS, "overhead"} - skipped
    for name in set(found) - {"overhead"}:
        assert found[name]["lost"] == found[name]["wrong"] == found[name]["duplicated"] == 0
        assert found[name]["replays"]
    assert np.isfinite(found["overhead"]["overhead"])
    assert "## What it costs while nothing fails" in (folder / "recovery.md").read_text()
