"""`synfire profiles` and `synfire build`, and `serve` by a profile."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from served import serving, tiny

from synfire.cli import profiles as commands
from synfire.cli.infer import run_here
from synfire.deploy import profiles as deployed
from synfire.deploy.planning import plan_models
from synfire.deploy.profiles import listed
from synfire.deploy.samples import samples_of
from synfire.engines.profiles import build as building
from synfire.engines.profiles.machine import Machine
from synfire.engines.profiles.offers import chosen
from synfire.engines.profiles.whole import Whole, parts_of
from synfire.engines.samples import FEW
from synfire.graph.passes import simplify
from synfire.plan import Hop
from synfire.wire.client import Client
from synfire.zoo import Model, sample


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was built before; what is measured takes as little time as may be, and hops cost what they are assumed to."""
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "ENOUGH_S", 0.0)
    monkeypatch.setattr(deployed, "prices", Hop)


def test_profiles_are_grouped_and_each_has_an_id(run: Callable, bundle: Path) -> None:
    found = run("profiles", str(bundle), "--json").json
    assert found["model"] == "tiny"
    fits = {each["name"]: each["fit"] for each in found["profiles"]}
    assert fits["cpu-float32"] == fits["reference-float32"] == fits["cpu-int8"] == "runnable"
    assert fits["cuda-float32"] == "incompatible"
    assert all(re.fullmatch("[0-9a-f]{64}", each["id"]) for each in found["profiles"])
    assert all(each["built"] is None for each in found["profiles"])


def test_a_build_is_listed_with_its_speed_and_its_likeness(run: Callable, bundle: Path) -> None:
    built = run("build", str(bundle), "--profile", "cpu-int8", "--json").json["built"]
    listing = run("profiles", str(bundle), "--json").json["profiles"]
    (entry,) = [each for each in listing if each["name"] == "cpu-int8"]
    assert entry["built"] == built[0]
    assert set(entry["built"]["seconds"]) == {"1", "16"}
    assert entry["built"]["likeness"]["spikes"] > 0.8


def test_every_runnable_profile_can_be_built_at_once_and_is_printed(run: Callable, bundle: Path) -> None:
    ran = run("build", str(bundle), "--all")
    assert ran.code == 0
    assert "runnable" in ran.out
    assert "incompatible" in ran.out
    assert "cuda-float32" in ran.out
    assert "not all are measured" not in ran.out
    assert "not all are measured" not in run("profiles", str(bundle)).out


def test_samples_that_a_build_is_given_are_what_all_is_measured_on(run: Callable, bundle: Path, tmp_path: Path) -> None:
    graph, rng = simplify(tiny()), np.random.default_rng(0)
    x = rng.random((40, 1, 8, 8), np.float32)
    answers = run_here(tiny(), {"x": x})["y"].argmax(-1)
    answers[:10] = (answers[:10] + 1) % 10
    np.savez(tmp_path / "mine.npz", x=x, labels=answers)
    assert run("build", str(bundle), "--json").json["measured_on"] == "made-up inputs"
    before = density_of_a_planned_input()
    built = run("build", str(bundle), "--samples", str(tmp_path / "mine.npz"), "--profile", "cpu-int8", "--json").json
    assert built["measured_on"] == "mine.npz"
    likeness = built["built"][0]["likeness"]
    assert (likeness["samples"], likeness["exact_accuracy"]) == (40, 0.75)
    listing = {each["name"]: each for each in run("profiles", str(bundle), "--json").json["profiles"]}
    assert (listing["cpu-int8"]["measured_on"], listing["cpu-int8"]["built"]) == ("mine.npz", built["built"][0])
    assert (
        listing["cpu-float32"]["measured_on"] is listing["cpu-float32"]["built"] is None
    )  # that was measured on others
    (row,) = [each for each in run("profiles", str(bundle)).out.splitlines() if " cpu-int8 " in each and "%" in each]
    assert row.rstrip().endswith("mine.npz")
    first = samples_of(graph).read(FEW).inputs["x"]
    assert density_of_a_planned_input() == pytest.approx(np.count_nonzero(first) / first.size)
    assert density_of_a_planned_input() > before + 0.2  # most of a digit is black
    assert run("build", str(bundle), "--samples", "none", "--json").json["measured_on"] == "made-up inputs"


def density_of_a_planned_input() -> float:
    (planned,) = plan_models([Model("tiny", tiny(), "")], "auto", 1, hop=Hop())
    return planned.costs.density["x"]


def test_samples_that_do_not_fit_are_refused(run: Callable, bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.zeros((3, 8, 8), np.float32))
    ran = run("build", str(bundle), "--samples", str(tmp_path / "mine.npz"))
    assert (ran.code, ran.out) == (2, "")
    assert "mine.npz: input 'x' has shape [3, 8, 8]; it takes [samples, 1, 8, 8]" in ran.err


def test_a_build_that_cannot_be_kept_is_printed_all_the_same(run: Callable, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    ran = run("build", str(bundle))
    (line,) = [each for each in ran.out.splitlines() if " cpu-float32 " in each and "yes" in each]
    assert line.count("s ") >= 2  # the times of 1 sample and of 16
    assert "set SYNFIRE_CACHE to a folder that can be written" in ran.err


def test_a_build_that_has_to_be_kept_fails_at_once_where_nothing_can_be(
    run: Callable, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    ran = run("build", str(bundle), "--must-keep")
    assert (ran.code, ran.out) == (2, "")
    assert "check the path and the disk" in ran.err


def test_a_build_of_which_something_is_not_kept_fails_where_it_has_to_be(
    run: Callable, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands._machine_code, "unkept", lambda: "")
    assert run("build", str(bundle), "--must-keep").code == 0
    monkeypatch.setattr(
        commands._machine_code, "unkept", lambda: "machine code cannot be kept in /full (No space left on device)"
    )
    ran = run("build", str(bundle), "--must-keep", "--json")
    assert ran.code == 3
    assert "No space left on device); free some of the disk of SYNFIRE_CACHE" in ran.json["error"]
    monkeypatch.setattr(commands._machine_code, "unkept", lambda: "")
    monkeypatch.setattr(commands, "known", lambda profile, source: None)
    assert "what was measured of 1 profile is not there" in run("build", str(bundle), "--must-keep").err


def test_without_a_build_the_listing_says_how_to_measure(run: Callable, bundle: Path) -> None:
    assert "synfire build tiny --all" in run("profiles", str(bundle)).out


def test_limited_workers_make_profiles_low_on_memory(run: Callable, bundle: Path) -> None:
    listing = run("profiles", str(bundle), "--memory", "1kB", "--json").json["profiles"]
    (entry,) = [each for each in listing if each["name"] == "cpu-float32"]
    assert entry["fit"] == "low on memory"
    assert "raise their limit" in entry["remark"]


def test_an_unknown_profile_is_refused_with_those_that_there_are(run: Callable, bundle: Path) -> None:
    ran = run("serve", str(bundle), "--profile", "fp4", "--port", "0")
    assert ran.code == 2
    assert "known: auto, cpu-bf16, cpu-float32" in ran.err


def test_profile_and_device_are_not_both_given(run: Callable, bundle: Path) -> None:
    ran = run("serve", str(bundle), "--profile", "latency", "--device", "darwin3", "--port", "0")
    assert ran.code == 2
    assert "leave one out" in ran.err


@pytest.mark.slow
def test_a_model_is_served_by_the_profile_that_is_wanted(bundle: Path) -> None:
    graph = simplify(tiny())
    with serving([str(bundle), "--profile", "cpu-int8"]) as (_, line), Client(line["url"]) as client:
        served = client.infer("tiny", sample(graph)).outputs["y"]
    profile = chosen(listed(Model("tiny", tiny(), ""), Machine.here()).offers, "cpu-int8")
    here = Whole(graph, parts_of(graph, profile)).run(sample(graph), 1, graph.steps or 1)["y"]
    np.testing.assert_array_equal(served, here[-1])
