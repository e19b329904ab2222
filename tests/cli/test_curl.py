"""The line that `synfire serve` prints asks a language model for what it was trained for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from synfire.cli.curl import curl
from synfire.deploy.planning import plan_models
from synfire.testing.language_models import TEMPLATE, write_tiny_language_model
from synfire.zoo import find


@pytest.mark.parametrize(
    ("template", "pooling", "path", "field"),
    [
        (TEMPLATE, 0, "chat/completions", "messages"),
        (None, 0, "completions", "prompt"),
        (None, 1, "embeddings", "input"),
        (None, 4, "ranking", "passages"),
    ],
)
def test_each_kind_of_model_is_asked_where_it_answers(
    template: str | None, pooling: int, path: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    file = write_tiny_language_model(tmp_path / "tiny.gguf", template, more={"llama.pooling_type": pooling})
    (planned,) = plan_models([find(str(file))], "auto", 2)
    words = shlex.split(curl(planned, cast(Any, SimpleNamespace(url="http://127.0.0.1:8000", id="1"))))
    assert words[2] == f"http://127.0.0.1:8000/v1/{path}"
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "tiny"
    assert field in body
