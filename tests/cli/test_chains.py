"""Chains by the command line: served from a file with their models, drawn, and refused before anything is started."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from served import serving, tiny

from synfire.cli import runs
from synfire.cli.chains import chains_among, joined
from synfire.cli.curl import curl_chain
from synfire.cli.infer import run_here
from synfire.deploy.planning import plan_models
from synfire.formats import write_bundle
from synfire.testing.onnx_models import Node, write_onnx
from synfire.zoo import find, sample

pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

CHAIN = """
description = "a spiking model, what an ONNX model makes of its rates, and the letter of the largest"

[models]
eye = "./tiny"
scale = "./scale.onnx"

[steps.look]
model = "eye"
inputs = { x = "request.picture" }

[steps.scaled]
model = "scale"
inputs = { rates = "look.y" }

[steps.place]
function = "argmax"
inputs = { scores = "scaled" }

[steps.name]
function = "label"
labels = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
inputs = { place = "place" }

[outputs]
letter = "name"
scores = "scaled.scores"
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain's file, with its models beside it."""
    folder = tmp_path_factory.mktemp("chain")
    write_bundle(tiny(), folder / "tiny")
    weights = {"w": np.float32(-np.eye(10))}
    write_onnx(folder / "scale.onnx", [Node("MatMul", "rates w", "scores")], {"rates": ("FLOAT", ["n", 10])}, {"scores": ("FLOAT", ["n", 10])}, weights)  # fmt: skip
    (folder / "letter.toml").write_text(CHAIN)
    return folder / "letter.toml"


@pytest.fixture(scope="module")
def ready(chain: Path) -> Iterator[dict[str, Any]]:
    """What a deployment of the chain printed."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SYNFIRE_HOME", str(chain.parent / "home"))
        with serving([str(chain), "--gateways", "2"]) as (_, line):
            yield line


def expected() -> tuple[Any, str]:
    scores = -run_here(tiny(), sample(tiny()))["y"]
    return scores, "abcdefghij"[int(scores[0].argmax())]


def test_a_chain_is_served_with_its_models_and_answers_by_http_and_grpc(ready: dict[str, Any]) -> None:
    scores, letter = expected()
    for module, address in (
        (tritonclient.http, ready["url"].removeprefix("http://")),
        (tritonclient.grpc, ready["grpc"]),
    ):
        client = module.InferenceServerClient(address)
        assert client.is_model_ready("letter")
        picture = module.InferInput("picture", [1, 1, 8, 8], "FP32")
        picture.set_data_from_numpy(sample(tiny())["x"])
        answer = client.infer("letter", [picture])
        np.testing.assert_array_equal(answer.as_numpy("scores"), scores)
        assert answer.as_numpy("letter").tolist() == [letter.encode()]
        client.close()


def test_all_samples_of_a_request_are_answered_in_their_order(ready: dict[str, Any]) -> None:
    picture = sample(tiny())["x"]
    both = np.concatenate([picture, np.zeros_like(picture)])
    body = {"inputs": [{"name": "picture", "shape": [2, 1, 8, 8], "datatype": "FP32", "data": both.ravel().tolist()}]}
    answer = httpx.post(f"{ready['url']}/v2/models/letter/infer", json=body).json()
    outputs = {each["name"]: each["data"] for each in answer["outputs"]}
    scores = -run_here(tiny(), {"x": both})["y"]
    np.testing.assert_array_equal(np.float32(outputs["scores"]).reshape(2, 10), scores)
    assert outputs["letter"] == ["abcdefghij"[place] for place in scores.argmax(-1)]


def test_a_chain_and_its_models_are_listed_and_asked_side_by_side(ready: dict[str, Any]) -> None:
    index = httpx.post(f"{ready['url']}/v2/repository/index").json()
    assert [(each["name"], each["state"]) for each in index] == [
        ("eye", "READY"),
        ("letter", "READY"),
        ("scale", "READY"),
    ]
    graph = httpx.get(f"{ready['url']}/api/graphs/letter").json()
    assert [each["name"] for each in graph["operators"]] == ["look", "scaled", "place", "name"]


def test_a_chain_is_not_unloaded_but_its_models_are(ready: dict[str, Any]) -> None:
    refused = httpx.post(f"{ready['url']}/v2/repository/models/letter/unload")
    assert (refused.status_code, refused.json()["error"].split(";")[1]) == (501, " unload a model that it calls")
    assert httpx.post(f"{ready['url']}/v2/repository/models/scale/unload").status_code == 200
    answer = httpx.get(f"{ready['url']}/v2/models/letter/ready")
    assert (answer.status_code, "model 'scale', which a step of it calls" in answer.text) == (503, True)
    assert httpx.post(f"{ready['url']}/v2/repository/models/scale/load").status_code == 200
    assert httpx.get(f"{ready['url']}/v2/models/letter/ready").status_code == 200


def test_metrics_tell_of_each_step(ready: dict[str, Any]) -> None:
    text = "".join(httpx.get(ready["metrics"]).text for _ in range(8))  # of either gateway
    assert 'synfire_chain_steps_total{chain="letter",outcome="ok",step="look"}' in text
    assert 'synfire_chain_seconds_total{chain="letter",step="name"}' in text


def test_ps_lists_a_chain_with_its_steps(ready: dict[str, Any], run: Callable, chain: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(chain.parent / "home"))
    assert "letter  look → scaled → place → name  eye, scale" in run("ps").out
    (told,) = run("ps", "--json").json["deployments"]
    assert told["chains"] == [
        {"name": "letter", "steps": ["look", "scaled", "place", "name"], "models": ["eye", "scale"]}
    ]


def test_a_session_of_a_chain_goes_on_whichever_gateway_is_asked(ready: dict[str, Any]) -> None:
    picture = {
        "name": "picture",
        "shape": [1, 1, 8, 8],
        "datatype": "FP32",
        "data": sample(tiny())["x"].ravel().tolist(),
    }

    def told(model: str, name: str, output: str, number: int, session: int) -> Any:
        parameters = {"sequence_id": session, "sequence_start": number == 0, "sequence_end": number == 5}
        body = {"parameters": parameters, "inputs": [{**picture, "name": name}]}
        answer = httpx.post(f"{ready['url']}/v2/models/{model}/infer", json=body)
        assert answer.status_code == 200, answer.text
        return np.float32(next(each["data"] for each in answer.json()["outputs"] if each["name"] == output))

    chained = [told("letter", "picture", "scores", number, 7) for number in range(6)]
    alone = [-told("eye", "x", "y", number, 8) for number in range(6)]
    np.testing.assert_array_equal(chained, alone)
    assert any((one != chained[0]).any() for one in chained)


def test_an_input_that_does_not_fit_is_the_callers_mistake(ready: dict[str, Any]) -> None:
    body = {"inputs": [{"name": "picture", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}]}
    answer = httpx.post(f"{ready['url']}/v2/models/letter/infer", json=body)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "model 'letter': input 'picture' has shape [1, 4]; it takes [batch, 1, 8, 8]",
    )


def test_show_tells_and_draws_a_chains_steps(run: Callable, chain: Path, tmp_path: Path) -> None:
    shown = run("show", str(chain), "--svg", str(tmp_path / "chain.svg"), "--json").json
    assert (shown["chain"], shown["models"]) == ("letter", ["eye", "scale"])
    assert [(each["name"], each["does"], each["after"]) for each in shown["steps"]] == [
        ("look", "eye", []),
        ("scaled", "scale", ["look"]),
        ("place", "argmax", ["scaled"]),
        ("name", "label", ["place"]),
    ]
    drawn = (tmp_path / "chain.svg").read_text()
    assert all(
        f">{word}</text>" in drawn for word in ("letter", "request", "look", "scaled", "place", "name", "answer")
    )
    assert "step" in run("show", str(chain)).out


def test_a_chain_that_does_not_fit_is_refused_before_anything_starts(run: Callable, chain: Path) -> None:
    wrong = chain.parent / "wrong.toml"
    wrong.write_text(CHAIN.replace('rates = "look.y"', 'rates = "name"'))
    ran = run("serve", str(wrong))
    assert ran.code == 2
    assert re.search(
        r"chain wrong: the steps .* wait for each other; a chain has no cycles", ran.err.replace("\n", " ")
    )
    wrong.write_text(CHAIN.replace('model = "scale"', 'model = "scales"'))
    ran = run("serve", str(wrong), "--json")
    assert ran.code == 2
    told = json.loads(ran.err or ran.out)["error"]
    assert told.startswith("chain wrong, step 'scaled': there is no model, bundle folder or file named 'scales'")
    wrong.write_text(CHAIN.replace("./scale.onnx", "./scales.onnx"))
    for verb in ("serve", "show"):
        ran = run(verb, str(wrong), "--json")
        assert ran.code == 2
        assert re.search(
            r"^chain wrong, model 'scale': there is no file or folder .*scales.onnx", json.loads(ran.out)["error"]
        )


@pytest.mark.parametrize("verb", ["plan", "profiles"])
def test_a_verb_for_one_model_says_who_takes_chains(run: Callable, chain: Path, verb: str) -> None:
    ran = run(verb, str(chain))
    assert ran.code == 2
    assert "is a chain of models, and no model by itself; `synfire serve` and `synfire show` take it" in " ".join(
        ran.err.split()
    )


def test_chains_call_each_other_but_not_in_a_circle(run: Callable, chain: Path) -> None:
    outer = chain.parent / "outer.toml"
    outer.write_text(
        '[models]\nletter = "./letter.toml"\n[steps.ask]\nmodel = "letter"\ninputs = { picture = "request.picture" }\n'
        '[outputs]\nletter = "ask.letter"\n'
    )
    assert run("show", str(outer), "--json").json["inputs"] == {"picture": "value 1×8×8 per request"}
    circle = chain.parent / "circle.toml"
    circle.write_text('[steps.ask]\nmodel = "circle"\ninputs = { x = "request.x" }\n[outputs]\ny = "ask"\n')
    ran = run("show", str(circle))
    assert (ran.code, "call each other" in ran.err.replace("\n", " ")) == (2, True)


@pytest.mark.slow
def test_a_chain_outlives_its_gateways(ready: dict[str, Any], chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gateway in turn is killed: whoever is left answers, and the one that is begun anew knows the chain, too."""
    monkeypatch.setenv("SYNFIRE_HOME", str(chain.parent / "home"))
    picture = {
        "name": "picture",
        "shape": [1, 1, 8, 8],
        "datatype": "FP32",
        "data": sample(tiny())["x"].ravel().tolist(),
    }
    _, letter = expected()

    def answered(url: str) -> bool:
        answer = httpx.post(f"{url}/v2/models/letter/infer", json={"inputs": [picture]}, timeout=60)
        return {each["name"]: each["data"] for each in answer.json()["outputs"]}["letter"] == [letter]

    for name in ("gateway-0", "gateway-1"):
        before = role(name)
        os.kill(before.pid, signal.SIGKILL)
        while role(name).pid == before.pid:
            assert answered(ready["url"])
        for _ in range(20):
            assert answered(ready["url"])


def role(name: str) -> runs.RunRole:
    """A process of the only deployment that runs, as `ps` tells of it."""
    (run,) = runs.running()
    return next(each for each in run.roles if each.name == name)


def test_serve_prints_a_line_that_asks_the_chain(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(chain.parent / "home"))
    chains, references, _ = chains_among([str(chain)])
    models = [find(each) for each in references]
    planned = plan_models(models, "model", 1)
    run = cast(Any, SimpleNamespace(url="http://127.0.0.1:8000", id="1"))
    words = shlex.split(curl_chain(joined(chains, models)[0], planned, run))
    assert words[2] == "http://127.0.0.1:8000/v2/models/letter/infer"
    told = words[words.index("-d") + 1]
    body = json.loads(Path(told.removeprefix("@")).read_text() if told.startswith("@") else told)
    assert [(each["name"], each["shape"]) for each in body["inputs"]] == [("picture", [1, 1, 8, 8])]


@pytest.mark.slow
def test_a_step_calls_a_name_that_answers_by_a_rule(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tries of a request go to one side; requests are shared out, and both sides are asked."""
    folder = chain.parent
    monkeypatch.setenv("SYNFIRE_HOME", str(folder / "ruled"))
    (folder / "ask.toml").write_text(
        '[steps.a]\nmodel = "prod"\ninputs = { x = "request.x" }\n[steps.b]\nmodel = "prod"\ninputs = { x = "request.x" }\n'
        '[outputs]\na = "a.y"\nb = "b.y"\n'
    )
    write_bundle(tiny(5), folder / "other")
    x = sample(tiny())["x"]
    sides = [run_here(tiny(seed), {"x": x})["y"].ravel().tolist() for seed in (0, 5)]
    body = {"inputs": [{"name": "x", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": x.ravel().tolist()}]}
    asked = [
        str(folder / "ask.toml"),
        f"old={folder / 'tiny'}",
        f"new={folder / 'other'}",
        "--traffic",
        "prod old=50 new=50",
    ]
    with serving(asked) as (_, line):
        found = []
        for _ in range(40):
            outputs = httpx.post(f"{line['url']}/v2/models/ask/infer", json=body).json()["outputs"]
            one, other = (np.float32(each["data"]).tolist() for each in outputs)
            assert one == other
            found.append(sides.index(one))
    assert {0, 1} == set(found)
