"""`serve --rate`: what is taken, what is refused, and chips that bear too little."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from joining import TOKEN, deployment, joined, worker
from served import import_tiny, tiny

from synfire.base.errors import UnknownName, UserError
from synfire.cli.rates import rated
from synfire.devices.darwin3.allotted import KEPS
from synfire.testing.callers import until
from synfire.wire.client import Client
from synfire.zoo import Model, sample

MODELS = [Model("a", tiny(), "here"), Model("b", tiny(1), "here")]


def test_models_have_the_rates_that_are_said() -> None:
    assert rated(MODELS, ["a=20", "b=0.5"]) == {"a": 20.0, "b": 0.5}
    assert rated(MODELS, []) == {}


@pytest.mark.parametrize("given", ["20", "=20", "a=", "a=many", "a=0", "a=-1", "a=nan", "a=inf", "a=1000001"])
def test_what_is_no_rate_is_refused(given: str) -> None:
    with pytest.raises(
        UserError, match=f"--rate {given} is not MODEL=N, such as a=20; N is above 0, and 1000000 at most"
    ):
        rated(MODELS, [given])


def test_other_models_and_two_rates_of_one_are_refused() -> None:
    with pytest.raises(UnknownName, match="no model named 'c'; known: a, b"):
        rated(MODELS, ["c=2"])
    with pytest.raises(UserError, match="--rate names model a twice; give it one"):
        rated(MODELS, ["a=2", "a=3"])


@pytest.mark.slow
def test_a_model_waits_for_a_chip_that_bears_its_rate_and_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(what: str) -> Any:
        return httpx.get(f"{url}/api/{what}").raise_for_status().json()

    def model(name: str) -> Any:
        return next(each for each in told("models") if each["model"] == name)

    def want(name: str, **wish: Any) -> httpx.Response:
        return httpx.put(f"{url}/api/deployment/models/{name}", json={"source": "tiny", **wish})

    def wished(name: str) -> Any:
        return told(f"deployment/models/{name}")

    with tempfile.TemporaryDirectory(prefix="sf") as home:
        monkeypatch.setenv("SYNFIRE_HOME", home)
        monkeypatch.setenv("SYNFIRE_JOIN_TOKEN", TOKEN)
        import_tiny(tmp_path)
        with deployment("tiny", "--device", "darwin3", "--rate", "tiny=100000") as (url, door):
            (plan,) = told("plans")
            ((events, cores),) = [(each["events"], each["cores"]["total"]) for each in plan["stages"] if each["engine"]]
            need = math.ceil(100_000 * events / 1000)
            assert (plan["rate"], need > 1) == (100_000, True)
            monkeypatch.setenv(KEPS, str(need - 1))
            with worker(door, "p") as processor, worker(door, "weak", "--device", "darwin3") as weak:
                assert {joined(each)["name"] for each in (processor, weak)} == {"p", "weak"}
                until(lambda: f"free now: weak 575 cores (287 large) and {need - 1} KEPS" in model("tiny")["reason"])
                assert f"with {cores} cores and {need} KEPS free where it is on a device" in model("tiny")["reason"]
                assert model("tiny")["status"] == "waiting"
                monkeypatch.setenv(KEPS, str(2 * need - 1))
                with worker(door, "strong", "--device", "darwin3") as strong:
                    joined(strong)
                    until(lambda: model("tiny")["status"] == "served")
                    found = {each["name"]: each for each in told("workers")}
                    assert found["p"]["free_cores"] is None
                    assert found["strong"]["cores"] == {"total": 575, "large": 287, "keps": 2 * need - 1}
                    assert found["strong"]["free_cores"] == {"total": 575 - cores, "large": 287, "keps": need - 1}
                    assert found["weak"]["free_cores"]["keps"] == need - 1
                    with Client(url) as client:
                        assert np.isfinite(client.infer("tiny", sample(tiny())).outputs["y"]).all()
                    assert want("more", device="darwin3", rate=100_000).status_code == 202
                    until(lambda: f"and {need} KEPS free" in wished("more")["reason"])
                    assert (wished("more")["wish"]["rate"], wished("more")["status"]) == (100_000, "waiting")
                    assert want("none", rate=0).status_code == 400
                    assert "ask for more than 0, and 1000000 at most" in want("none", rate=0).json()["error"]
                    assert want("none", rate=20).status_code == 202
                    until(lambda: wished("none")["status"] == "failed")
                    assert "events are counted on chips alone: leave its rate out" in wished("none")["reason"]
