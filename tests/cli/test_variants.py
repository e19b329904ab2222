"""Canaries, A/B tests and shadows of one operator, in deployments of real processes: who computes what, and what a loss costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from joining import TOKEN, deployment, joined, worker
from served import serving, tiny
from sides import SideCallers

from synfire.cli.infer import run_here
from synfire.cli.operator_report import Did, Hosting, Operated, operated
from synfire.formats.bundle import write_bundle
from synfire.graph import Graph
from synfire.testing.callers import until
from synfire.wire.traffic import rule_of
from synfire.zoo import sample

INPUTS = sample(tiny())


def tuned(*names: str) -> Graph:
    """The small model with other weights in some layers."""
    graph, others = tiny(), tiny(7)
    return replace(graph, operators={**graph.operators, **{name: others.operators[name] for name in names}})


ANSWERS = {"net@1": run_here(tiny(), INPUTS)["y"], "net@2": run_here(tuned("fc2"), INPUTS)["y"]}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A model, a variant with another `fc2`, and one with another `head` as well, as `serve` takes them."""
    graphs = {"net@1": tiny(), "net@2": tuned("fc2"), "net@3": tuned("fc2", "head")}
    for name, graph in graphs.items():
        write_bundle(graph, tmp_path / name)
    return [f"{name}={tmp_path / name}" for name in graphs]


def homes(url: str, model: str) -> dict[str, str]:
    """The workers of a model's stages."""
    plans: list[dict[str, Any]] = httpx.get(f"{url}/api/plans").json()
    (plan,) = [each for each in plans if each["model"].partition("#")[0] == model]
    return {each["name"]: each["worker"] for each in plan["stages"]}


def apart(url: str, one: str, other: str) -> set[str]:
    """The stages that two models do not share a worker for."""
    first, second = homes(url, one), homes(url, other)
    return {name for name in first if first[name] != second[name]}


def pid_of(url: str, worker: str) -> int:
    (found,) = [each for each in httpx.get(f"{url}/api/workers").json() if each["name"] == worker]
    return int(found["pid"])


@pytest.mark.slow
def test_a_canary_of_one_operator_shares_all_other_stages_and_its_loss_costs_no_call(
    run: Callable, words: list[str]
) -> None:
    assert not np.array_equal(*ANSWERS.values())
    cut = ["-g", "operator", "--apart", "--workers", "3", "--spares", "1"]
    with serving([*words[:2], *cut, "--traffic", "net net@1=90 net@2=10 operator fc2"]) as (_, line):
        url = line["url"]
        second = homes(url, "net@2")
        assert apart(url, "net@1", "net@2") == {"fc2"}
        with SideCallers(url, "net", INPUTS, ANSWERS) as callers:
            callers.go_on(300)
            assert 0.03 < callers.answered["net@2"] / callers.calls < 0.2
            os.kill(pid_of(url, second["fc2"]), signal.SIGKILL)
            callers.go_on(20, "net@2")
            until(lambda: homes(url, "net@2")["fc2"] != second["fc2"])
            assert run("traffic", "net", "net@1=50", "net@2=50").code == 0
            callers.go_on(50, "net@2")
            assert run("traffic", "net", "--clear").code == 0
            assert run("traffic", "net", "net@1", "--operator", "fc2", "--shadow", "net@2").code == 0
            callers.go_on(50)
        assert (callers.errors, callers.wrong) == ([], [])
        shown = run("traffic", "net").out
        assert "net at fc2:" in shown
        (told,) = run("traffic", "net", "--json").json["names"]
        assert told["rule"]["operators"] == ["fc2"]
        (shadow,) = [each for each in told["sides"] if each["shadow"]]
        assert shadow["compared"] > 0
        assert shadow["equal_share"] == 0
        did = {each["model"]: each for each in told["operators"]}
        assert {model: (each["operators"], each["worker"]) for model, each in did.items()} == {
            model: (["fc2"], homes(url, model)["fc2"]) for model in ANSWERS
        }
        assert did["net@1"]["samples"] > 0
        assert did["net@1"]["mean_s"] > 0
        assert "computed" in shown


@pytest.mark.slow
def test_a_variant_is_asked_for_by_http_beside_what_others_host_and_goes_as_it_came(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="sf") as home, ExitStack() as stack:
        monkeypatch.setenv("SYNFIRE_HOME", home)
        monkeypatch.setenv("SYNFIRE_JOIN_TOKEN", TOKEN)
        for each, name in zip(words, ("old", "new", "odd"), strict=True):
            path = Path(each.partition("=")[2])
            command = [sys.executable, "-m", "synfire", "import", str(path.rename(path.with_name(name)))]
            subprocess.run(command, check=True, capture_output=True)
        url, door = stack.enter_context(deployment())
        client = stack.enter_context(httpx.Client(base_url=f"{url}/api"))

        def put(name: str, **wish: object) -> httpx.Response:
            return client.put(f"deployment/models/{name}", json=wish)

        def told(name: str) -> tuple[str, str]:
            found = client.get(f"deployment/models/{name}").json()
            return found["status"], found["reason"]

        def steer(*operators: str, **sides: float) -> httpx.Response:
            return client.post("traffic/net", json={"sides": sides, "operators": operators})

        refused = put("new", source="new", variant_of="net", granularity="operator")
        assert (refused.status_code, "cut and placed as that is, once: leave out" in refused.text) == (400, True)
        assert put("new", source="new", variant_of="net").status_code == 202
        until(lambda: told("new")[0] == "failed")
        assert "new is to be a variant of net, which is not served; it comes as soon as" in told("new")[1]
        begun = [stack.enter_context(worker(door, name, "--threads", "1")) for name in "abc"]
        begun.append(stack.enter_context(worker(door, "s", "--role", "spare")))
        for each in begun:
            joined(each)
        assert put("net", source="old", granularity="operator", workers=2, apart=True).status_code == 202
        until(lambda: told("net")[0] == told("new")[0] == "served")
        assert apart(url, "net", "new") == {"fc2"}
        for answer, code, said in (
            (
                steer("fc1", net=90, new=10),
                400,
                "new differs from net in fc2, and not in fc1 alone; name these operators, too",
            ),
            (steer("fc2", "fc9", net=90, new=10), 404, "no operator of net named 'fc9'; known: encoder"),
            (steer("fc2", "fc2", net=90, new=10), 400, "names operator fc2 twice"),
        ):
            assert (answer.status_code, said in answer.json()["error"]) == (code, True), answer.text
        assert client.get("traffic").json() == []
        assert steer("fc2", net=50, new=50).status_code == 200
        with SideCallers(url, "net", INPUTS, ANSWERS) as callers:
            callers.go_on(20, "net@2")
            os.kill(pid_of(url, homes(url, "new")["fc2"]), signal.SIGKILL)
            callers.go_on(20, "net@2")
            before = homes(url, "net")["head"]
            os.kill(pid_of(url, before), signal.SIGKILL)
            callers.go_on(20, "net@2")
            until(lambda: homes(url, "net")["head"] != before and apart(url, "net", "new") == {"fc2"})
            assert client.delete("traffic/net").status_code == 200
            assert client.delete("deployment/models/new").status_code == 200
            callers.go_on(20, "net@1")
        assert (callers.errors, callers.wrong) == ([], [])
        assert put("odd", source="svgg-digits", variant_of="net").status_code == 202
        until(lambda: told("odd")[0] == "failed")
        assert "odd is no variant of net: " in told("odd")[1]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("net net@1=90 net@3=10 operator fc2", "net@3 differs from net@1 in head, and not in fc2 alone"),
        ("net net@1=90 net@2=10 operator fc9", "there is no operator of net@1 named 'fc9'; known: encoder"),
        ("net net@1=90 net@2=10 operator", "is no rule; write 'NAME MODEL=PERCENT…'"),
        ("net net@1 shadow net@2 net@3", "is no rule; write 'NAME MODEL=PERCENT…'"),
    ],
)
def test_a_rule_at_an_operator_that_does_not_fit_is_refused_before_anything_starts(
    run: Callable, words: list[str], rule: str, said: str
) -> None:
    ran = run("serve", *words, "--traffic", rule, "--port", "0", "--json")
    assert ran.code == 2
    assert said in ran.json["error"]


def test_what_operators_did_is_told_of_the_stage_that_holds_them() -> None:
    stages = [
        {"name": "a..b", "operators": ["a", "b"], "worker": "w"},
        {"name": "c", "operators": ["c"], "worker": "v"},
    ]
    plans = [{"model": model, "stages": stages} for model in ("x", "y", "z")]
    workers = [
        Hosting("w", (Did("x", "a..b", 4, 0.02), Did("y", "a..b", 0, 0.0))),
        Hosting("v", (Did("x", "c", 8, 1.0),)),
    ]
    found = operated(rule_of("n", ["y=50", "x=50"], None, ["b"]), plans, [*workers, Hosting("u")])
    assert found == [Operated("y", ("b",), "a..b", "w", 0, None), Operated("x", ("b",), "a..b", "w", 4, 0.005)]
