"""The recovery benchmark: what it sees, how it counts, what it writes."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from synfire.base.errors import PermanentError
from synfire.bench import BENCHMARKS, Settings, figure
from synfire.bench.arms import ARMS
from synfire.bench.arms.workers import Hot
from synfire.bench.benchmark import report
from synfire.bench.trials import ALL, Found, Trial, bootstrap, quantile
from synfire.bench.witness import LOST, RIGHT, WRONG, Case, Job, Seen, witness
from synfire.cli import main
from synfire.testing.answering import handling
from synfire.wire import oip
from synfire.wire.recovery import Cause, RecoveryRecord, Step, Touched

RIGHT_ANSWER = {"y": np.arange(3, dtype=np.float32)[None]}


class Gateway(BaseHTTPRequestHandler):
    """Answers rightly for `good`; other models' names say how they answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        model = self.path.split("/")[3]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = oip.parse_infer_request(body, int(self.headers[oip.HEADER_LENGTH]))
        number = int(asked.id[-10:])
        ill = number in (2, 4)
        if model == "closes" and ill:
            self.close_connection = True
            return
        outputs = {"y": RIGHT_ANSWER["y"] + 1} if model == "lies" and ill else RIGHT_ANSWER
        answer, length = oip.build_infer_response(oip.InferResponse(model, outputs, asked.id, "1"), ["y"])
        status = 503 if model == "refuses" and ill else 200
        for _ in range(2 if model == "repeats" and ill else 1):
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.send_header(oip.HEADER_LENGTH, str(length))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def seen(models: tuple[str, ...]) -> dict[str, Seen]:
    with handling(Gateway) as url:
        inputs = {"x": np.zeros((1, 2), np.float32)}
        with witness(Job(url, {model: [Case.of(url, model, inputs, RIGHT_ANSWER)] for model in models})) as load:
            return load.stop()


def test_witness_tells_right_wrong_lost_and_duplicated_apart() -> None:
    found = seen(("good", "lies", "refuses", "closes", "repeats"))
    assert set(found["good"].verdict) == {RIGHT}
    assert [int((each.verdict == WRONG).sum()) for each in found.values()] == [0, 2, 0, 0, 0]
    assert [int((each.verdict == LOST).sum()) for each in found.values()] == [0, 0, 2, 2, 0]
    assert [each.duplicated for each in found.values()] == [0, 0, 0, 0, 2]
    assert found["refuses"].complaints[0].startswith("status 503")
    assert "closed the connection" in found["closes"].complaints[0]


def test_witness_sends_a_request_when_the_last_one_has_ended() -> None:
    (one,) = seen(("good",)).values()
    assert len(one.sent_s) == len(one.ended_s) == len(one.verdict) > 5
    assert np.all(one.ended_s > one.sent_s)
    assert np.all(one.sent_s[1:] >= one.ended_s[:-1])


@pytest.mark.slow
def test_witness_without_a_gateway_says_so() -> None:
    job = Job("http://127.0.0.1:1", {"good": []})
    with pytest.raises(PermanentError, match="load generator failed"), witness(job):
        raise AssertionError("it began")


def client(times: list[tuple[float, float]], verdicts: list[int] | None = None) -> Seen:
    sent, ended = (np.array(column, np.float64).tobytes() for column in zip(*times, strict=True))
    return Seen(sent, ended, bytes(verdicts or [RIGHT] * len(times)), 0, [])


def trial(at_s: float, took_s: float, models: tuple[str, ...] = ("a-digits", "b-digits")) -> Trial:
    """A failure at `at_s`, noticed 10 ms later and made good in `took_s` from then."""
    began_s = 1000.0 + at_s + 0.01
    record = RecoveryRecord(
        id=f"x-{at_s}",
        cause=Cause("exit", "w0"),
        models=tuple(Touched(model, 0, 1) for model in models),
        worker="w0",
        steps=(Step("detect", began_s, 0.0), Step("replay", began_s, took_s)),
        outcome="recovered",
    )
    return Trial(at_s, 1000.0 + at_s, "w0", record, 2.0)


def test_outage_is_the_longest_wait_that_overlaps_failure_and_recovery() -> None:
    one = trial(10.0, 0.05)
    assert one.over_s == pytest.approx(10.06)
    before, during, next_, after = (8.0, 9.9), (9.99, 10.02), (10.021, 10.071), (10.07, 12.0)
    assert one.outage_s(client([before, during, next_, after])) == pytest.approx(0.05)
    assert one.outage_s(client([before, after])) == 0.0
    assert one.outage_s(client([(9.0, 13.0)])) == 4.0


def test_rows_are_per_family_and_for_all_with_the_longest_of_any() -> None:
    fast, slow = client([(9.0, 9.5), (9.99, 10.02), (10.5, 10.6)]), client([(9.98, 10.08), (10.09, 11.5)])
    found = Found((trial(10.0, 0.05),), {"a-digits": fast, "b-digits": slow}, {"a-digits": 3, "b-digits": 1}, 2)
    total, first, second = found.rows("hot")
    assert [row["family"] for row in (total, first, second)] == [ALL, "a", "b"]
    assert [row["outage_max_s"] for row in (total, first, second)] == pytest.approx([0.1, 0.03, 0.1])
    assert (total["requests"], total["replays"], total["late"], total["unprovoked"]) == (5, 4, 1, 2)
    assert total["notice_s"] == pytest.approx(0.01)
    assert (total["replay_s"], total["recovery_s"]) == pytest.approx((0.05, 0.05))
    assert first["quiet_p99_s"] == pytest.approx(0.5, rel=0.02)


def test_lost_and_wrong_answers_are_counted() -> None:
    one = client([(9.0, 9.1), (9.2, 9.3), (9.4, 10.2)], [WRONG, LOST, LOST])
    total, _ = Found((trial(10.0, 0.05),), {"a-digits": one}, {"a-digits": 0}).rows("hot")
    assert (total["wrong"], total["lost"]) == (1, 2)


def test_a_model_that_was_not_hit_has_no_steps() -> None:
    one = client([(9.0, 11.0)])
    rows = Found(
        (trial(10.0, 0.05, ("a-digits",)),),
        {"a-digits": one, "b-digits": one},
        dict.fromkeys(("a-digits", "b-digits"), 0),
    )
    assert ["replay_s" in row for row in rows.rows("hot")] == [True, True, False]


def test_a_quantile_is_never_less_than_what_was_seen() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert quantile([float(i) for i in range(1, 101)], 0.99) == 100.0


def test_the_interval_of_the_median_holds_it_and_is_the_same_in_every_run() -> None:
    values = [float(each) for each in np.random.default_rng(1).normal(50, 5, 200)]
    low, high = bootstrap(values, 0.5)
    assert low <= quantile(values, 0.5) <= high
    assert 0.5 < high - low < 4
    assert bootstrap(values, 0.5) == (low, high)
    assert bootstrap([7.0] * 9, 0.99) == (7.0, 7.0)


def row(arm: str, **changes: object) -> dict[str, object]:
    one = client([(9.98, 10.08), (10.09, 10.1)])
    (total, _) = Found((trial(10.0, 0.05), trial(10.05, 0.02)), {"a-digits": one}, {"a-digits": 1}).rows(arm)
    return {**total, **changes}


def test_hot_spares_promise_that_nothing_is_lost_and_little_is_waited() -> None:
    floors = {each.name: each for each in Hot().floors(row("hot"))}
    assert {name: (each.op, each.limit) for name, each in floors.items()} == {
        "kill_lost": ("==", 0),
        "kill_wrong": ("==", 0),
        "kill_duplicated": ("==", 0),
        "kill_outage_p99_ms": ("<=", 150),
        "kill_outage_p50_ms": ("<=", 60),
    }
    assert floors["kill_outage_p99_ms"].value == pytest.approx(100)
    assert [each.name for each in floors.values() if not each.holds] == ["kill_outage_p50_ms"]
    assert not next(iter(Hot().floors(row("hot", lost=1)))).holds


def test_the_report_is_a_page_with_two_plots() -> None:
    benchmark = BENCHMARKS["recovery"]
    rows = [row("hot"), row("cold")]
    details = {"arms": {name: ARMS[name].about for name in ("hot", "cold")}}
    found = report("recovery", Settings(), details, rows, list(Hot().floors(rows[0])))
    documents = benchmark.documents(found)
    assert set(documents) == {"recovery.md", "recovery-outages.svg", "recovery-steps.svg"}
    assert "| `kill_outage_p50_ms` | <= 60 | 100 | **does not hold** |" in documents["recovery.md"]
    assert "outages_s" not in documents["recovery.md"]
    for name in ("recovery-outages.svg", "recovery-steps.svg"):
        assert f"]({name})" in documents["recovery.md"]
        texts = [each.text for each in ElementTree.fromstring(documents[name]).iter() if each.tag.endswith("text")]
        assert any("hot" in (text or "") for text in texts)
        assert any("cold" in (text or "") for text in texts)


def test_a_curve_ends_at_its_longest_value_and_names_are_escaped() -> None:
    svg = ElementTree.fromstring(figure.cumulative("a < b", "x", {"<&>": [0.01, 0.1]}, [figure.Limit(0.06, 0.5, "&")]))
    paths = [each.attrib["d"] for each in svg.iter() if each.attrib.get("stroke-width") == "2" and "d" in each.attrib]
    assert len(paths) == 1
    assert paths[0].endswith(f"V{figure.TOP:.1f}")


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    return int(ended.value.code or 0)


def test_an_unknown_arm_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("recovery", "--only", "tepid") == 2
    said = capsys.readouterr().err
    assert "no part of recovery named 'tepid'; known: " in said
    assert all(name in said for name in ARMS)
    assert ran("split", "--only", "hot") == 2


@pytest.mark.slow
def test_a_quick_run_kills_workers_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synfire.base import paths

    monkeypatch.setenv("SYNFIRE_CACHE", str(paths.cache()))
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    file, folder = tmp_path / "recovery.json", tmp_path / "report"
    arms = [each for name in ("cold", "hot", "warm") for each in ("--only", name)]
    assert ran("recovery", "--quick", *arms, "--json", str(file), "--report", str(folder)) == 0
    written = json.loads(file.read_text())
    assert written["floors"] == []
    rows = written["rows"]
    assert [(each["arm"], each["family"]) for each in rows] == [
        (arm, family) for arm in ("cold", "hot", "warm") for family in ("all", "scnn", "srnn")
    ]
    assert all(each["lost"] == each["wrong"] == each["duplicated"] == 0 for each in rows)
    assert all(len(each["outages_s"]) == 2 and 0 < each["outage_p50_s"] <= each["outage_max_s"] for each in rows)
    assert all(each["replays"] for each in rows)
    assert {each.name for each in folder.iterdir()} == {"recovery.md", "recovery-outages.svg", "recovery-steps.svg"}
