"""Names that several models answer, in a deployment of real processes: changed while calls go on, and told."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from served import serving, tiny
from sides import SideCallers

from synfire.cli import runs
from synfire.cli.infer import run_here
from synfire.formats import write_bundle
from synfire.wire.client import Client
from synfire.zoo import sample

INPUTS = sample(tiny())
ANSWERS = {f"net@{seed}": run_here(tiny(seed), INPUTS)["y"] for seed in (1, 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two versions of a model, and one with other inputs, as bundles."""
    for seed in (1, 2):
        write_bundle(tiny(seed), tmp_path / f"v{seed}")
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[dict[str, Any]]:
    """Both versions behind one name, at two gateways."""
    models = [f"net@1={folder / 'v1'}", f"net@2={folder / 'v2'}", "svgg-digits"]
    with serving([*models, "--gateways", "2", "--traffic", "prod net@1=50 net@2=50"]) as (_, line):
        yield line


def by_side(url: str, count: int) -> dict[str, int]:
    """How many of so many calls of `prod` each version answered, each with what it should have."""
    found = dict.fromkeys(ANSWERS, 0)
    for _ in range(count):
        with Client(url) as client:  # a connection each, so that both gateways are asked
            answer = client.infer("prod", INPUTS).outputs["y"]
        (model,) = [name for name, wanted in ANSWERS.items() if np.array_equal(answer, wanted)]
        found[model] += 1
    return found


@pytest.mark.slow
def test_shares_are_changed_while_calls_go_on_and_outlive_the_controller(run: Callable, served: dict[str, Any]) -> None:
    url = served["url"]
    shares = by_side(url, 60)
    assert min(shares.values()) > 10
    with SideCallers(url, "prod", INPUTS, ANSWERS) as callers:
        for share in (90, 10, 50):
            told = run("traffic", "prod", f"net@1={share}", f"net@2={100 - share}", "--json")
            assert told.code == 0, told.err
        assert run("traffic", "prod", "net@2").code == 0
        assert by_side(url, 10) == {"net@1": 0, "net@2": 10}
        (deployment,) = runs.running()
        (controller,) = [role for role in deployment.roles if role.name == "controller"]
        os.kill(controller.pid, signal.SIGKILL)
        assert by_side(url, 10) == {"net@1": 0, "net@2": 10}
        until_another(controller)
        assert run("traffic", "prod", "net@1=100", "--shadow", "net@2").code == 0
        assert by_side(url, 10) == {"net@1": 10, "net@2": 0}
    assert (callers.wrong, callers.errors) == ([], [])
    assert callers.calls > 0
    (row,) = run("ps", "--json").json["deployments"][0]["rules"]
    assert row == {
        "name": "prod",
        "sides": [{"model": "net@1", "percent": 100.0}],
        "shadow": {"model": "net@2", "percent": 100.0},
        "operators": [],
    }
    (told,) = run("traffic", "prod", "--json").json["names"]
    sides = {(each["model"], each["shadow"]): each for each in told["sides"]}
    assert sides["net@1", False]["calls"] >= 70
    assert sides["net@2", False]["percent"] == 0
    assert sum(each["errors"] for each in told["sides"]) == 0
    shown = run("traffic", "prod").out
    assert "net@2 (shadow)" in shown
    assert "p95" in shown
    pause = threading.Event()
    while counted_together(url) != {key: each["calls"] for key, each in sides.items()}:
        pause.wait(0.1)


def counted_together(url: str) -> dict[tuple[str, bool], int]:
    """How often each side was called at all gateways, as any of them tells it."""
    (prod,) = httpx.get(f"{url}/api/deployment/traffic").json()
    return {(each["model"], each["shadow"]): sum(each["calls"].values()) for each in prod["sides"]}


def until_another(controller: runs.RunRole) -> None:
    """Wait until the supervisor has begun another controller; the test's own time limit ends what never comes about."""
    while True:
        (deployment,) = runs.running()
        now = [role.pid for role in deployment.roles if role.name == "controller" and role.alive]
        if now and now != [controller.pid]:
            return


def test_what_does_not_fit_is_refused_by_the_controller(run: Callable, served: dict[str, Any]) -> None:
    def refused(*words: str) -> str:
        ran = run("traffic", *words, "--json")
        assert ran.code == 2
        return str(ran.json["error"])

    assert "net is served in several versions; say which is meant: net@1 or net@2" in refused("prod", "net")
    assert "no served model named 'nobody'; known: net@1, net@2, svgg-digits" in refused("prod", "nobody")
    assert "svgg-digits takes input: value 1×8×8 per request, and net@1 takes x: value" in refused(
        "prod", "--shadow", "svgg-digits"
    )
    assert "get 70 % of its calls together" in refused("prod", "net@1=70")
    assert "beta answers by no rule yet" in refused("beta", "--shadow", "net@1")
    assert "there is no name that answers by a rule named 'beta'; known: prod" in refused("beta")
    with httpx.Client(base_url=served["url"]) as http:
        unloaded = http.post("/v2/repository/models/net@1/unload")
        assert unloaded.status_code == 400
        assert "model net@1 gets calls of prod" in unloaded.json()["error"]
        assert run("traffic", "prod", "--clear").code == 0
        assert http.get("/api/traffic").json() == []
        assert http.get("/v2/models/prod").status_code == 404
    assert "every name of deployment" in run("traffic").out


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("prod", "--traffic 'prod' is no rule; write 'NAME MODEL=PERCENT…'"),
        ("prod net@1=90", "get 90 % of its calls together"),
        ("prod net@1 shadow", "is no rule"),
        ("prod other", "there is no served model named 'other'; known: net@1, net@2"),
        ("prod svgg-digits shadow net@1", "takes"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_before_anything_starts(
    run: Callable, folder: Path, rule: str, said: str
) -> None:
    models = [f"net@1={folder / 'v1'}", f"net@2={folder / 'v2'}"]
    more = ["svgg-digits"] if "svgg" in rule else []
    ran = run("serve", *models, *more, "--traffic", rule, "--port", "0", "--json")
    assert ran.code == 2
    assert said in json.loads(ran.out)["error"]
