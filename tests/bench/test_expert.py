"""The floors of `synfire bench expert` are about the fastest baseline."""

from __future__ import annotations

import time

import pytest

from synfire.base.errors import Bug, UserError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench.expert import _found, speedups
from synfire.bench.frameworks import Case, cases
from synfire.engines.engine import ENGINES


class Itself:
    """A baseline that is synfire, with some of its spikes elsewhere."""

    name = "itself"

    def __init__(self, spoil: bool) -> None:
        self._spoil = spoil

    def settings(self, case: Case):  # type: ignore[no-untyped-def]
        call = self.plainest(case)
        yield "slower", lambda: (time.sleep(0.001), call())[1]
        yield "faster", call

    def plainest(self, case: Case):  # type: ignore[no-untyped-def]
        program = ENGINES["cpu"]().build(case.graph)
        answers = program.run(program.initial_state(case.batch), case.inputs, case.steps)[1]
        changed = {name: 1 - array for name, array in answers.items() if array.dtype.kind == "u"} if self._spoil else {}
        return lambda: {**answers, **changed}


def test_the_fastest_baseline_counts_and_one_that_refuses_does_not() -> None:
    def row(baseline: str, speedup: float, batch: int = 1) -> dict[str, object]:
        return {"model": "m", "batch": batch, "baseline": baseline, "speedup": speedup}

    refusing = {"model": "m", "batch": 1, "baseline": "other", "refused": "cannot"}
    ours = {"model": "m", "batch": 1, "baseline": "synfire"}
    rows = [ours, row("torch", 4.0), row("onnxruntime", 1.5), refusing, row("torch", 2.5, batch=16)]
    assert speedups(rows) == {("m", 1): 1.5, ("m", 16): 2.5}


def test_of_a_baselines_settings_the_fastest_is_taken() -> None:
    found = _found(Itself(spoil=False), next(iter(cases(["srnn-digits"]))), rounds=5)  # type: ignore[arg-type]
    assert found.fastest.settings == "faster"
    assert found.spikes > 0
    assert found.flips == 0


def test_a_baseline_that_computes_another_net_is_not_compared_with() -> None:
    with pytest.raises(Bug, match="it computes another net"):
        _found(Itself(spoil=True), next(iter(cases(["srnn-digits"]))), rounds=1)  # type: ignore[arg-type]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="`make expert` installs"):
        BENCHMARKS["expert"].measure(Settings(quick=True), print)


@pytest.mark.slow
def test_three_baselines_give_the_same_answers() -> None:
    for package in ("torch", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason="the expert's environment is not installed (make expert)")
    rows = BENCHMARKS["expert"].measure(Settings(quick=True), print).rows
    assert {row["baseline"] for row in rows} == {"synfire", "torch", "onnxruntime", "openvino"}
    assert all(row["same_predictions"] == 1.0 for row in rows if row["baseline"] != "synfire")
    assert not any("refused" in row for row in rows)
