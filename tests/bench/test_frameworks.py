"""The floors of `synfire bench frameworks` are about the fastest of the others, in this run and in those beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import pytest

from synfire.base.errors import UserError
from synfire.bench import Report, machine
from synfire.bench.contenders import CONTENDERS, installed
from synfire.bench.frameworks import fastest, marked, taken


def row(framework: str, threads: str, speedup: float, batch: int = 1) -> dict[str, Any]:
    return {"model": "m", "batch": batch, "framework": framework, "threads": threads, "speedup": speedup}


HERE = [
    row("synfire", "", 1.0),
    row("spikingjelly", "1", 4.0),
    row("spikingjelly", "2", 3.0),
    row("snntorch", "1", 9.0),
    {"model": "m", "batch": 1, "framework": "norse", "refused": "no such neuron"},
    row("synfire", "", 1.0, batch=16),
    row("spikingjelly", "1", 2.5, batch=16),
]
THERE = [row("synfire", "", 1.0), row("spikingjelly", "1", 2.0), row("spikingjelly", "1", 8.0, batch=16)]


def beside(rows: list[dict[str, Any]], machine_: Mapping[str, Any] | None = None, rounds: int = 60) -> Report:
    found = {**machine(), **(machine_ or {})}
    return Report(benchmark="frameworks", machine=found, settings={"rounds": rounds}, rows=tuple(rows))


def test_the_fastest_of_the_others_counts_with_its_best_number_of_threads() -> None:
    assert fastest(HERE) == {("m", 1): 3.0, ("m", 16): 2.5}


def test_the_fastest_of_all_runs_counts_case_by_case() -> None:
    rows = [*taken(beside(THERE), {("m", 1), ("m", 16)}, 60), *HERE]
    assert fastest(rows) == {("m", 1): 2.0, ("m", 16): 2.5}
    found = marked(rows)
    assert [(each["batch"], each["speedup"]) for each in found if each.get("fastest")] == [(1, 2.0), (16, 2.5)]
    assert [each["batch"] for each in found] == sorted(each["batch"] for each in rows)
    assert marked(found) == found


def test_only_the_cases_that_are_measured_are_taken() -> None:
    assert taken(beside(THERE), {("m", 16)}, 60) == THERE[2:]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (beside(THERE, {"cpu": "an abacus"}), "of an abacus, this machine .* measure both on one machine"),
        (beside(THERE, rounds=3), "3 rounds, this run of 60; give --quick to both or to none"),
        (beside(THERE[:2]), "nothing of m at batch 16; have that run measure the same models"),
        (beside([row("synfire", "", 1.0), row("synfire", "", 1.0, 16)]), "nothing of m at batch 1;"),
    ],
)
def test_a_report_that_cannot_be_compared_is_refused(report: Report, said: str) -> None:
    with pytest.raises(UserError, match=said):
        taken(report, {("m", 1), ("m", 16)}, 60)


def test_a_framework_that_is_not_there_is_no_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.bench.contenders.find_spec", lambda name: name == "spikingjelly" or None)
    assert [each.name for each in installed()] == ["spikingjelly"]


def test_a_contender_that_cannot_be_compiled_ends_a_run_but_not_a_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.bench.contenders.find_spec", lambda name: True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt install g"):
        installed()
    assert [each.name for each in installed(compiled=False)] == ["spikingjelly", "snntorch", "norse"]


def test_every_contenders_neurons_are_where_it_says() -> None:
    for each in CONTENDERS:
        file, _, function = each.neurons.partition(":")
        spec = find_spec(f"synfire.testing.{file}")
        assert spec is not None
        assert f"def {function}(" in spec.loader.get_source(spec.name)  # type: ignore[union-attr]
