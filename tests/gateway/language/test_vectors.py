"""Vectors, rankings, tokens, and what NIM's callers ask."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
pytestmark = pytest.mark.slow

CHAT: list[Any] = [{"role": "user", "content": "the king said"}]


def test_vectors_come_as_numbers_and_as_bytes(client):
    numbers = client.embeddings.create(model="vectors", input=["the king", "a sword"], encoding_format="float")
    as_bytes = client.embeddings.create(model="vectors", input=["the king", "a sword"])
    assert [each.index for each in numbers.data] == [0, 1]
    assert len(numbers.data[0].embedding) == 64
    assert sum(x * x for x in numbers.data[0].embedding) == pytest.approx(1, abs=1e-3)
    for one, other in zip(numbers.data, as_bytes.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-3)
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 4
    assert client.embeddings.create(model="vectors", input=[1, 300, 301]).usage.prompt_tokens == 3


def test_a_text_that_is_too_long_is_refused_or_cut(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.embeddings.create(model="vectors", input="king " * 1000)
    assert (error.value.code, error.value.param) == ("context_length_exceeded", "input")
    ends = [
        client.embeddings.create(model="vectors", input="king " * 1000 + "night", extra_body={"truncate": side})
        for side in ("START", "END")
    ]
    assert [each.usage.prompt_tokens for each in ends] == [256, 256]
    assert ends[0].data[0].embedding != ends[1].data[0].embedding


def test_models_for_text_and_for_vectors_are_told_apart(client, complete):
    with pytest.raises(openai.BadRequestError, match="names no pooling"):
        client.embeddings.create(model="tiny", input="the king")
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        complete(model="vectors")
    with pytest.raises(openai.BadRequestError, match="/v1/ranking"):
        client.embeddings.create(model="ranks", input="the king")
    with pytest.raises(openai.BadRequestError, match="vectors of model 'vectors' have 64"):
        client.embeddings.create(model="vectors", input="the king", dimensions=8)


@pytest.mark.parametrize("model", ["vectors", "ranks"])
def test_passages_are_ranked(served, model):
    passages = [{"text": text} for text in ("the sword", "the king", "a night")]
    body = {"model": model, "query": {"text": "the king"}, "passages": passages}
    rankings = httpx.post(f"{served}/v1/ranking", json=body).json()["rankings"]
    assert sorted(each["index"] for each in rankings) == [0, 1, 2]
    logits = [each["logit"] for each in rankings]
    assert logits == sorted(logits, reverse=True)
    if model == "vectors":
        assert rankings[0]["index"] == 1
        assert logits[0] == pytest.approx(1, abs=1e-2)


def test_tokens_of_texts_and_chats_are_told(served):
    def ask(path: str, **body: Any) -> Any:
        return httpx.post(f"{served}/{path}", json={"model": "tiny", **body}).json()

    told = ask("tokenize", prompt="the king", return_token_strs=True)
    assert (told["count"], told["max_model_len"]) == (len(told["tokens"]), 256)
    assert len(told["token_strs"]) == told["count"]
    bare = ask("tokenize", prompt="the king", add_special_tokens=False)["tokens"]
    assert told["tokens"][1:] == bare
    assert ask("detokenize", tokens=bare)["prompt"].strip() == "the king"
    assert ask("tokenize", messages=CHAT)["count"] > ask("tokenize", prompt="the king said")["count"]
    assert "one of the two" in ask("tokenize")["error"]["message"]


def test_nims_callers_are_told_what_is_served(served):
    def get(path: str) -> httpx.Response:
        return httpx.get(f"{served}/{path}")

    assert get("v1/health/live").json() == {"object": "health.response", "message": "Service is live."}
    assert get("v1/health/ready").json()["message"] == "Service is ready."
    assert get("health").status_code == 200
    assert get("v1/version").json()["release"] == get("version").json()["version"]
    metadata = get("v1/metadata").json()
    assert {"tiny", "vectors"} <= {each["shortName"] for each in metadata["modelInfo"]}
    assert "synfire_ready 1.0" in get("v1/metrics").text
