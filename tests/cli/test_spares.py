"""`synfire spares`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from served import tiny

from synfire.formats import write_bundle


def test_four_nines_for_six_models_take_six_spares(run: Callable) -> None:
    found = run("spares", "--target", "99.99", "--json").json
    assert (found["slots"], found["spares"]) == (60, 6)
    assert found["served"] == pytest.approx(0.999988, abs=1e-6)
    assert found["dedicated_same"] == {"spares": 6, "by_model": [1] * 6, "served": pytest.approx(0.9599, abs=5e-5)}
    assert found["dedicated_needed"]["spares"] == 18
    assert found["simulated"] is None


def test_the_answer_says_how_many_why_and_what_dedicated_ones_give(run: Callable) -> None:
    ran = run("spares")
    assert ran.code == 0
    assert "6 warm spares, shared by 6 models with 60 slots, keep every slot served 99.9988 % of the time" in ran.out
    assert "one spare less would keep every slot served 99.988 % of the time: below the target" in ran.out
    assert "the same 6 spares (1 a model) would give 95.99 %" in ran.out
    assert "dedicated spares reach the target with 18 (3 a model)" in ran.out


def test_the_table_holds_the_published_figures(run: Callable) -> None:
    rows = [line.split() for line in run("spares").out.splitlines() if line.strip()[:1].isdigit()]
    percent = {int(row[0]): row[1] for row in rows if len(row) > 3 and row[2] == "%"}
    assert (percent[2], percent[3], percent[6]) == ("96.31", "99.35", "99.9988")


def test_rates_are_called_assumptions_and_bracketed(run: Callable) -> None:
    ran = run("spares")
    assert "are assumptions, not measurements" in ran.out
    found = run("spares", "--json").json
    assert [each["spares"] for each in found["brackets"]] == [2, 2, 9]


@pytest.mark.slow
def test_a_simulation_agrees_and_says_so(run: Callable) -> None:
    options = ("--models", "2", "--operators", "5", "--target", "99.9", "--simulate", "--seed", "7")
    assert "the formula lies within" in run("spares", *options).out
    found = run("spares", *options, "--json").json
    assert found["simulated"]["low"] <= found["served"] <= found["simulated"]["high"]
    assert found["simulated"]["seed"] == 7


def test_few_crews_take_more_spares_and_say_that_dedicated_pools_have_their_own(run: Callable) -> None:
    ran = run("spares", "--crews", "2")
    assert ran.out.startswith("9 warm spares")
    assert "dedicated to the models with 2 crews to each model" in ran.out


def test_a_target_beyond_the_crews_is_refused_with_the_cure(run: Callable) -> None:
    ran = run("spares", "--crews", "1", "--mttf-h", "1000", "--json")
    assert (ran.code, ran.json["exit_code"]) == (2, 2)
    assert "add crews" in ran.json["error"]


def test_models_bring_the_slots_of_their_plans(run: Callable, bundle: Path, tmp_path: Path) -> None:
    write_bundle(tiny(1), tmp_path / "other")
    options = (str(bundle), str(tmp_path / "other"), "--granularity", "operator", "--apart", "--workers", "2")
    found = run("spares", *options, "--json").json
    plans = run("plan", *options, "--json").json["plans"]
    assert found["models"] == {plan["model"]: len(plan["stages"]) for plan in plans} == {"tiny": 7, "other": 7}
    assert (found["slots"], found["workers"]) == (14, 2)
    assert "the plans put these 14 stages on 2 workers" in run("spares", *options).out


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (("svgg-digits", "--models", "2"), "leave out --models and --operators, or MODEL"),
        (("--workers", "3"), "need a MODEL"),
        (("--target", "100"), "less than 100 %"),
        (("--standby", "2"), "0 to 1 times"),
        (("--crews", "0"), "give 1 or more"),
        (("--mttf-h", "nan"), "above 0"),
        (("no-such-model",), "known: "),
    ],
)
def test_what_does_not_go_together_is_refused(run: Callable, options: tuple[str, ...], cure: str) -> None:
    ran = run("spares", *options)
    assert ran.code == 2
    assert cure in ran.err


def test_two_models_of_one_name_are_refused(run: Callable, bundle: Path) -> None:
    ran = run("spares", str(bundle), str(bundle))
    assert ran.code == 2
    assert "NAME=MODEL" in ran.err
