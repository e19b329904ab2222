"""Requests that are made to a model before anybody is told that it is there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.deploy.local import LocalDeployment
from synfire.deploy.planning import plan_models
from synfire.deploy.settings import Settings
from synfire.deploy.warm_up import TOKENS, is_warmed, warm_inputs
from synfire.graph import flatten
from synfire.ops.language_model import read_request
from synfire.testing.language_models import write_tiny_language_model
from synfire.testing.onnx_models import Node, write_onnx
from synfire.zoo import Model, find


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "cache"):
        monkeypatch.setenv(f"SYNFIRE_{name.upper()}", str(tmp_path / name))


def jobs_of(model: Model, warm_ups: int) -> int:
    """How many jobs a model's worker has done when it is served."""

    async def story() -> int:
        planned = plan_models([model], "auto", 2)
        models = {each.model.name: (each.graph, each.plan) for each in planned}
        async with LocalDeployment(models, Settings(warm_ups=warm_ups)) as deployment:
            described = await deployment.describe()
        return sum(stage.jobs for each in described.values() for stage in each.stages)

    return asyncio.run(story())


@pytest.fixture
def language(tmp_path: Path) -> Model:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    return find(str(write_tiny_language_model(tmp_path / "tiny.gguf")))


def onnx(folder: Path, node: Node, size: int = 3) -> Model:
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    write_onnx(folder / "net.onnx", [node], {"x": ("FLOAT", ["n", size])}, {"y": ("FLOAT", ["n", size])})
    return find(str(folder / "net.onnx"))


@pytest.mark.parametrize("warm_ups", [0, 1, 3])
def test_a_language_model_has_answered_so_many_questions_when_it_is_served(language: Model, warm_ups: int) -> None:
    assert jobs_of(language, warm_ups) == warm_ups


def test_an_onnx_model_is_asked_with_a_sample_that_fits(tmp_path: Path) -> None:
    assert jobs_of(onnx(tmp_path, Node("Identity", "x", "y")), 2) == 2


def test_a_model_that_refuses_what_was_made_up_is_served_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = {"shape": np.array([2, 3], np.int64)}
    write_onnx(
        tmp_path / "two.onnx",
        [Node("Reshape", "x shape", "y")],
        {"x": ("FLOAT", ["n", 3])},
        {"y": ("FLOAT", [2, 3])},
        weights,
    )
    with caplog.at_level(logging.WARNING, "synfire"):
        jobs_of(find(str(tmp_path / "two.onnx")), 1)
    assert "model two: its warm-up request failed, and it is served all the same" in caplog.text


def test_what_is_asked_fits_what_a_model_was_trained_for(tmp_path: Path) -> None:
    asked = {}
    for pooling, name in ((None, "text"), (1, "vectors"), (4, "ranks")):
        more = {} if pooling is None else {"llama.pooling_type": pooling}
        model = find(str(write_tiny_language_model(tmp_path / f"{name}.gguf", None, more=more)))
        (request,) = warm_inputs(flatten(model.graph)).values()
        asked[name] = read_request(request)
    assert {name: each.task for name, each in asked.items()} == {
        "text": "generate",
        "vectors": "embed",
        "ranks": "rank",
    }
    assert (asked["text"].max_tokens, asked["text"].temperature, asked["ranks"].passage) == (TOKENS, 0.0, "Good news.")


def test_models_of_operators_are_not_asked() -> None:
    assert not is_warmed(flatten(find("svgg-digits").graph))


def test_fewer_than_none_are_refused() -> None:
    with pytest.raises(UserError, match="warm_ups is -1; 0 or more"):
        Settings(warm_ups=-1)
