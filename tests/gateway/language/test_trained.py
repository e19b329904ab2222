"""A trained model says what other engines say. Its weights lie beside the data sets, where these are at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synfire.base import paths
from synfire.base.errors import UserError
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import serving_in_background
from synfire.zoo import find

openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
pytestmark = pytest.mark.slow

SAID = "I'll be a pub'd, and"
"""What llama.cpp, transformers and three more engines answer, greedily, to the question below."""
QUESTION = "Speak, what news?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of the trained model."""
    try:
        path = paths.data().parent / "models" / "tinyshake-5m-chat-Q8_0.gguf"
    except UserError as error:
        pytest.skip(str(error))
    if not path.exists():
        pytest.skip(f"there is no {path}")
    folder: Path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        with serving_in_background(plan_models([find(f"shake={path}")], "auto", 2)) as running:
            yield openai.OpenAI(base_url=f"{running.addresses.url}/v1", api_key="none", max_retries=0)


def test_a_chat_is_answered_as_by_other_engines(trained):
    asked: Any = [{"role": "user", "content": QUESTION}]
    answer = trained.chat.completions.create(model="shake", messages=asked, max_tokens=24, temperature=0)
    assert answer.choices[0].message.content.startswith(SAID)


def test_outside_of_a_chat_the_model_is_done_as_transformers_says_it_is(trained):
    answer = trained.completions.create(model="shake", prompt=QUESTION, max_tokens=24, temperature=0)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "stop")
    chat = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    answer = trained.completions.create(model="shake", prompt=chat, max_tokens=24, temperature=0)
    assert answer.choices[0].text.startswith(SAID)


def test_json_that_a_trained_model_writes_fits_its_schema(trained):
    schema = {"type": "object", "properties": {"news": {"type": "string", "maxLength": 40}}, "required": ["news"]}
    asked: Any = [{"role": "user", "content": QUESTION}]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "news", "schema": schema}}
    answer = trained.chat.completions.create(
        model="shake", messages=asked, max_tokens=200, seed=1, response_format=wanted
    )
    assert list(json.loads(answer.choices[0].message.content)) == ["news"]
    assert answer.choices[0].finish_reason == "stop"
