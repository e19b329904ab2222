"""Language models behind a gateway, and OpenAI's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synfire.deploy.planning import plan_models
from synfire.deploy.serving import serving_in_background
from synfire.testing.language_models import TOOLS_TEMPLATE, write_tiny_language_model
from synfire.zoo import find

CHAT: list[Any] = [{"role": "user", "content": "the king said"}]

Ask = Callable[..., Any]

FILLING_IN = {f"tokenizer.ggml.fim_{name}_token_id": 250 + place for place, name in enumerate(("pre", "suf", "mid"))}
"""Tokens that a model has which was trained to fill in: bytes that no text of these tests has."""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a model for chats, `tiny`, one that may call functions, a base model that fills in, and two that give vectors and rank."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    folder: Path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        paths = [
            write_tiny_language_model(folder / "tiny.gguf"),
            write_tiny_language_model(folder / "base.gguf", None, more=FILLING_IN),
            write_tiny_language_model(folder / "caller.gguf", TOOLS_TEMPLATE, 1024),
            write_tiny_language_model(folder / "vectors.gguf", None, more={"llama.pooling_type": 1}),
            write_tiny_language_model(folder / "ranks.gguf", None, more={"llama.pooling_type": 4}),
        ]
        with serving_in_background(plan_models([find(str(path)) for path in paths], "auto", 2)) as running:
            yield running.addresses.url


@pytest.fixture(scope="session")
def client(served: str) -> Iterator[Any]:
    """OpenAI's client, which tries nothing twice."""
    openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
    with openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def chat(client: Any) -> Ask:
    """`chat(**fields)`: a short greedy answer to a chat."""

    def ask(**fields: Any) -> Any:
        usual = {"model": "tiny", "messages": CHAT, "max_tokens": 12, "temperature": 0}
        return client.chat.completions.create(**{**usual, **fields})

    return ask


@pytest.fixture(scope="session")
def complete(client: Any) -> Ask:
    """`complete(**fields)`: a short greedy answer to a text."""

    def ask(**fields: Any) -> Any:
        usual = {"model": "tiny", "prompt": "the king said", "max_tokens": 12, "temperature": 0}
        return client.completions.create(**{**usual, **fields})

    return ask
