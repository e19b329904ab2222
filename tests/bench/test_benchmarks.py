from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from synfire.base.errors import UserError
from synfire.bench import BENCHMARKS, Benchmark, Report, Settings, floor, machine, unheld
from synfire.bench.benchmark import Progress, in_turns, quartiles_of, report, spread
from synfire.bench.gateway import _median
from synfire.bench.machine import busy_s, children_busy_s
from synfire.cli import main

ROOT = Path(__file__).parents[2]


class Judged(Benchmark):
    """A benchmark whose only floor holds or not."""

    name = "judged"
    about = "nothing"

    def __init__(self, value: float) -> None:
        self.value = value

    def measure(self, settings: Settings, progress: Progress) -> Report:
        progress("nothing")
        return report(self.name, settings, {"x": 1}, [{"median_s": 0.5}], [floor("enough", ">=", 1.0, self.value)])


def ran(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("synfire.cli.bench.BENCHMARKS", {benchmark.name: benchmark})
    with pytest.raises(SystemExit) as ended:
        main(["bench", benchmark.name, *arguments])
    return int(ended.value.code or 0)


def test_there_are_the_benchmarks_that_the_readme_quotes() -> None:
    assert set(BENCHMARKS) >= {"frameworks", "split", "gateway"}


def test_the_machine_is_described() -> None:
    assert {"cpu", "cores", "features", "memory_bytes", "system", "python", "packages"} <= set(machine())
    assert machine()["packages"]["synfire"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells for how long cores were busy")
def test_what_a_child_takes_of_the_cores_is_counted() -> None:
    before_s, own_before_s = busy_s(), children_busy_s()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    own_s = children_busy_s() - own_before_s
    assert own_s >= 0.3
    assert busy_s() - before_s >= own_s / 2, "the system counts hundredths of a second, of whoever runs at the tick"


@pytest.mark.parametrize(
    ("op", "value", "holds"),
    [("<=", 1.0, True), ("<=", 1.1, False), (">=", 1.0, True), (">=", 0.9, False), ("==", 1.0, True)],
)
def test_a_floor_is_judged(op: str, value: float, holds: bool) -> None:
    assert floor("x", op, 1.0, value).holds is holds  # type: ignore[arg-type]


def test_a_report_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.json"
    assert ran(Judged(2.0), monkeypatch, "--json", str(file)) == 0
    written = json.loads(file.read_text())
    assert set(written) == {"benchmark", "machine", "settings", "rows", "floors"}
    assert written["floors"] == [{"name": "enough", "op": ">=", "limit": 1.0, "value": 2.0, "holds": True}]
    assert written["settings"] == {"quick": False, "only": [], "seed": 0, "x": 1}


def test_a_report_for_people_is_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(Judged(0.5), monkeypatch, "--report", str(tmp_path / "some" / "where")) == 1
    page = (tmp_path / "some" / "where" / "judged.md").read_text()
    assert "| `enough` | >= 1 | 0.5 | **does not hold** |" in page
    assert "| median_s |\n| --- |\n| 500 ms |" in page
    (tmp_path / "file").write_text("in the way")
    assert ran(Judged(0.5), monkeypatch, "--report", str(tmp_path / "file")) == 2


def test_a_floor_that_does_not_hold_exits_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(Judged(0.5), monkeypatch) == 1
    assert "DOES NOT HOLD: enough 0.5 >= 1" in capsys.readouterr().out


def test_a_quick_run_states_no_floors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(Judged(0.5), monkeypatch, "--quick", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["floors"] == []


def test_a_report_that_cannot_be_written_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(Judged(2.0), monkeypatch, "--json", str(tmp_path / "none" / "x.json")) == 2


def test_what_did_not_hold_is_named_for_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{name}.json" for name in ("held", "failed", "crashed")]
    for file, value in zip(files, (2.0, 0.5), strict=False):
        ran(Judged(value), monkeypatch, "--json", str(file))
    capsys.readouterr()
    assert unheld.main(files[:1]) == 0
    assert unheld.main(files) == 1
    assert capsys.readouterr().out.splitlines() == [
        "DOES NOT HOLD: judged: enough 0.5 >= 1", "DOES NOT HOLD: crashed: ended without a report",
    ]  # fmt: skip


def benches_of_make() -> list[str]:
    (names,) = re.findall(r"^BENCHES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return str(names).split()


def test_make_bench_runs_all_that_the_environments_of_the_tests_can_run() -> None:
    wanted = {name for name in BENCHMARKS if BENCHMARKS[name].environment in ("", "make parity")}
    assert sorted(benches_of_make()) == sorted(wanted)


def test_make_bench_goes_on_after_a_benchmark_that_does_not_hold_and_fails_at_the_end(tmp_path: Path) -> None:
    """With a `synfire` that states a floor which does not hold, and one benchmark that ends without a report."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    held = msgspec.json.encode(report("x", Settings(), {}, [], [floor("enough", ">=", 1.0, 0.5)])).decode()
    for folder in (".venv", ".venv-parity-1", ".venv-parity-2"):
        (tmp_path / folder / "bin").mkdir(parents=True)
        (tmp_path / folder / "bin" / "synfire").write_text(
            f"""#!/bin/sh
echo "$0 $*" >>ran
test "$2" = hop || echo '{held}' >"$4"
exit 1
"""
        )
        (tmp_path / folder / "bin" / "synfire").chmod(0o755)
        (tmp_path / folder / "bin" / "python").symlink_to(sys.executable)
        for made in (".dev", ".installed"):
            (tmp_path / folder / made).touch()
    for file in ("pyproject.toml", *(each.relative_to(ROOT) for each in (ROOT / "tests/parity").glob("*.txt"))):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
        os.utime(tmp_path / file, (0, 0))
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment = {**outside, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}  # not as a part of `make test`
    done = subprocess.run(
        ["make", "bench", "BENCHES=frameworks hop split"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    runs = [line.partition("--json")[0] for line in (tmp_path / "ran").read_text().splitlines()]
    assert runs == [
        ".venv-parity-1/bin/synfire bench frameworks ", ".venv-parity-2/bin/synfire bench frameworks ",
        ".venv/bin/synfire bench hop ", ".venv/bin/synfire bench split ",
    ]  # fmt: skip
    assert "--with benchmarks/results/spikingjelly-0.json" in (tmp_path / "ran").read_text().splitlines()[1]
    assert done.stdout.splitlines()[-3:] == [
        "DOES NOT HOLD: x: enough 0.5 >= 1", "DOES NOT HOLD: hop: ended without a report", "DOES NOT HOLD: x: enough 0.5 >= 1",
    ]  # fmt: skip


def test_the_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in BENCHMARKS)


def test_the_documents_name_every_benchmark() -> None:
    table = re.findall(r"^\| \[?`(\w+)`", (ROOT / "docs/benchmarks.md").read_text().partition("\n## ")[0], re.MULTILINE)
    assert sorted(table) == sorted(BENCHMARKS)
    readme = (ROOT / "README.md").read_text()
    assert all(re.search(rf"bench {name}\b|`make {name}`", readme) for name in BENCHMARKS)


def test_a_report_from_another_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Joining(Judged):
        joins = True

        def measure(self, settings: Settings, progress: Progress) -> Report:
            (other,) = settings.beside
            return report(self.name, settings, {"seen": other.rows}, [], [])

    file = tmp_path / "other.json"
    assert ran(Judged(2.0), monkeypatch, "--json", str(file)) == 0
    assert ran(Joining(2.0), monkeypatch, "--with", str(file), "--json", str(tmp_path / "x.json")) == 0
    settings = json.loads((tmp_path / "x.json").read_text())["settings"]
    assert settings["seen"] == [{"median_s": 0.5}]
    assert "beside" not in settings, "what counts of it is in the rows"


def test_a_report_that_cannot_be_read_is_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Joining(Judged):
        joins = True

    file = tmp_path / "x.json"
    ran(Judged(2.0), monkeypatch, "--json", str(file))
    mistakes = {
        str(file): (Judged, "judged is judged by one run; leave out --with"),
        str(tmp_path / "none.json"): (Joining, "choose another --with FILE"),
    }
    for given, (kind, said) in mistakes.items():
        assert ran(kind(2.0), monkeypatch, "--with", given) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "none.json").write_text("{}")
    assert ran(Joining(2.0), monkeypatch, "--with", str(tmp_path / "none.json")) == 2
    assert "is no report of a benchmark" in capsys.readouterr().err
    file.write_text(file.read_text().replace('"judged"', '"split"'))
    assert ran(Joining(2.0), monkeypatch, "--with", str(file)) == 2
    assert "is a report of split, and this is judged" in capsys.readouterr().err


def test_calls_are_made_in_turns() -> None:
    made: list[str] = []
    times = in_turns({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, rounds=9, warm_up=1)
    rounds = ["".join(made[k : k + 2]) for k in range(0, len(made), 2)]
    assert len(rounds) == 10
    assert set(rounds) == {"ab", "ba"}
    assert [len(each) for each in times.values()] == [9, 9]


def test_the_spread_is_the_middle_half() -> None:
    found = spread([1.0, 2.0, 3.0, 4.0, 100.0])
    assert found["q1_s"] < found["median_s"] == 3.0 < found["q3_s"]


def test_a_number_stands_beside_the_ends_of_its_middle_half() -> None:
    assert quartiles_of("requests_s", [1.0, 2.0, 3.0]) == {
        "requests_s": 2.0,
        "q1_requests_s": 1.0,
        "q3_requests_s": 3.0,
    }
    assert quartiles_of("p50_s", [0.5]) == {"p50_s": 0.5, "q1_p50_s": 0.5, "q3_p50_s": 0.5}


def test_the_gateways_rounds_are_told_by_their_median_and_range() -> None:
    found = _median([{"p50_s": p50_s, "p99_s": 1.0, "requests_s": 1 / p50_s} for p50_s in (0.5, 0.25, 1.0)])
    assert (found["min_p50_s"], found["p50_s"], found["max_p50_s"]) == (0.25, 0.5, 1.0)
    assert (found["min_requests_s"], found["requests_s"], found["max_requests_s"]) == (1.0, 2.0, 4.0)


def test_frameworks_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.bench.contenders.find_spec", lambda name: None)
    with pytest.raises(UserError, match="torch and spikingjelly cannot be imported"):
        BENCHMARKS["frameworks"].measure(Settings(quick=True), print)


@pytest.mark.slow
def test_gateway_measures_every_concurrency() -> None:
    found = BENCHMARKS["gateway"].measure(Settings(quick=True), print)
    assert [(row["server"], row["concurrency"]) for row in found.rows] == [
        ("gateway", 1), ("gateway", 16), ("gateway", 64), ("bare", 1), ("bare", 16), ("bare", 64),
    ]  # fmt: skip
    assert all(0 < row["p50_s"] <= row["p99_s"] for row in found.rows)
    assert all(row["requests_s"] > 0 for row in found.rows)


@pytest.mark.slow
def test_split_compares_every_cut_with_uncut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    found = BENCHMARKS["split"].measure(Settings(quick=True), print)
    assert [(row["granularity"], row["workers"], row["apart"]) for row in found.rows] == [
        ("model", 1, False), ("operator", 1, False), ("block", 2, False), ("operator", 2, False),
        ("block", 1, True), ("block", 2, True), ("operator", 1, True), ("operator", 2, True),
    ]  # fmt: skip
    assert {row["stages"] for row in found.rows if not row["apart"]} == {1, 2}
    assert found.rows[0]["latency_ratio"] == 1.0
    assert all((row["hop_bytes"] > 0) == (row["workers"] == 2) for row in found.rows)
    assert found.rows[0]["work_ratio"] == 1.0
    assert all(row["q1_requests_s"] <= row["requests_s"] <= row["q3_requests_s"] for row in found.rows)
    assert all(row["q1_throughput_ratio"] <= row["throughput_ratio"] for row in found.rows)
    for row in found.rows:  # three ways to say the same of one round
        assert 0 < row["cores_busy"] == pytest.approx(row["requests_s"] * row["work_s"] / len(os.sched_getaffinity(0)))
        assert row["throughput_limit"] == pytest.approx(row["throughput_ratio"] / row["cores_busy"])


@pytest.mark.slow
def test_plan_holds_predictions_against_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    found = BENCHMARKS["plan"].measure(Settings(quick=True), print)
    served = [row for row in found.rows if row["what"] == "served"]
    assert [row["cut"] for row in served if row["auto"]] == ["auto-2"]
    assert all(row["error"] == pytest.approx(row["predicted_s"] / row["median_s"] - 1) for row in served)
    uncut, auto = (next(row for row in served if row["cut"] == name) for name in ("model-1", "auto-2"))
    assert [row["error"] for row in found.rows if row["what"] == "twice"] == [abs(uncut["error"] - auto["error"])]
    assert {row["objective"] for row in found.rows if row["what"] == "search"} == {"latency", "throughput"}
    assert all(0.999 < row["auto_ratio"] <= 1.05 for row in found.rows if row["what"] == "search")


@pytest.mark.slow
def test_plan_is_asked_of_the_models_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    found = BENCHMARKS["plan"].measure(Settings(quick=True, only=("sgnn-digits",)), print)
    assert {row["model"] for row in found.rows} == {"sgnn-digits"}
