"""Thoughts are told apart from answers, however the text is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.deploy.planning import plan_models
from synfire.deploy.serving import serving_in_background
from synfire.gateway.language.card import Card
from synfire.gateway.language.thinking import Thinking, thinking_of, thinks
from synfire.gateway.language.writers import ChatWriter, Told
from synfire.gateway.ollama.writers import Writer
from synfire.ops.language_model import Generation, Piece
from synfire.testing.language_models import write_tiny_language_model
from synfire.zoo import find

WHOLE = "<think>\nTwo and two.\nMakes four.\n</think>\n\nFour, of <b>course</b>."
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: <think>"
    "{% if enable_thinking is defined and not enable_thinking %}</think>{% endif %}"
)


def told(text: str, cuts: list[int], inside: bool = False) -> tuple[str, str]:
    """The thoughts and the answer of a text that comes in parts."""
    thinking, places = Thinking(inside), sorted({min(each, len(text)) for each in cuts} | {0, len(text)})
    parts = [text[a:b] for a, b in pairwise(places)] or [""]
    heard = [thinking.take(part, number == len(parts) - 1) for number, part in enumerate(parts)]
    return "".join(each.thought for each in heard), "".join(each.said for each in heard)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_the_same_is_told_however_the_text_is_cut(cuts: list[int]) -> None:
    assert told(WHOLE, cuts) == ("Two and two.\nMakes four.", "Four, of <b>course</b>.")


@pytest.mark.parametrize(
    ("text", "inside", "wanted"),
    [
        ("plain", False, ("", "plain")),
        ("", False, ("", "")),
        ("  <think>a</think>b", False, ("a", "b")),
        (" said <think>a</think>", False, ("", " said <think>a</think>")),
        ("<thin", False, ("", "<thin")),
        ("a\n</think>\nb", True, ("a", "b")),
        ("never ends </thi", True, ("never ends </thi", "")),
        ("<think></think>\n\nb", False, ("", "b")),
    ],
)
def test_what_is_no_thought_is_the_answer(text: str, inside: bool, wanted: tuple[str, str]) -> None:
    assert told(text, [], inside) == wanted
    assert told(text, list(range(len(text))), inside) == wanted


def test_only_models_that_were_trained_to_think_are_listened_to() -> None:
    assert not thinks(Card(chat_template="{{ messages }}"))
    card = Card(chat_template=TEMPLATE)
    assert thinking_of(card, [Generation("hi", schema={"type": "object"})]) is None
    begun, fresh = (thinking_of(card, [Generation(prompt)]) for prompt in ("assistant: <think>\n", "assistant: "))
    assert begun is not None
    assert fresh is not None
    assert (begun().inside, fresh().inside) == (True, False)


PIECES = [Piece(each) for each in ("<thi", "nk>hm", "</think>", "\n\nYes")] + [Piece(".", finish="stop", count=5)]


def test_openais_answers_have_thoughts_in_a_field_of_their_own() -> None:
    whole, stream = (ChatWriter("m", 1, Told(), None, Thinking) for _ in range(2))
    for piece in PIECES:
        whole.add(0, piece)
    message = json.loads(msgspec.json.encode(whole.whole()))["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Yes.", "hm")
    events = b"".join(stream.event(0, piece) for piece in PIECES).decode().split("\n\n")
    deltas = [json.loads(each.removeprefix("data: "))["choices"][0]["delta"] for each in events if each]
    assert deltas == [{"reasoning_content": "hm"}, {"content": "Yes"}, {"content": "."}, {}]


def test_ollamas_answers_have_them_too() -> None:
    chat, text = Writer("m", True, 0.0), Writer("m", False, 0.0)
    for writer in (chat, text):
        writer.thinking = Thinking()
        for piece in PIECES:
            writer.add(0, piece)
    assert chat.whole().message == {"role": "assistant", "content": "Yes.", "thinking": "hm"}
    assert (text.whole().response, text.whole().thinking) == ("Yes.", "hm")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model the template of which begins its thoughts, and one that does not think."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    folder: Path = tmp_path_factory.mktemp("thinking")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        paths = [
            write_tiny_language_model(folder / "thinker.gguf", TEMPLATE),
            write_tiny_language_model(folder / "plain.gguf"),
        ]
        with (
            serving_in_background(plan_models([find(str(path)) for path in paths], "auto", 2)) as running,
            httpx.Client(base_url=running.addresses.url, timeout=60) as client,
        ):
            yield client


@pytest.mark.slow
def test_a_served_model_thinks_unless_it_is_told_not_to(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "the king said"}]
    asked = {"model": "thinker", "messages": messages, "max_tokens": 8, "temperature": 0}
    message = http.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
    assert message["reasoning_content"]
    assert message["content"] == ""
    off = {**asked, "chat_template_kwargs": {"enable_thinking": False}}
    plain = http.post("/v1/chat/completions", json=off).json()["choices"][0]["message"]
    responded = http.post("/v1/responses", json={"model": "thinker", "input": messages, "max_output_tokens": 8}).json()
    assert [each["type"] for each in responded["output"]] == ["reasoning"]
    assert responded["usage"]["output_tokens_details"]["reasoning_tokens"] == 8
    assert plain["content"]
    assert "reasoning_content" not in plain
    chat = {"model": "thinker", "messages": messages, "stream": False, "options": {"num_predict": 8, "temperature": 0}}
    assert http.post("/api/chat", json=chat).json()["message"]["thinking"]
    assert "thinking" not in http.post("/api/chat", json={**chat, "think": False}).json()["message"]
    assert "thinking" in http.post("/api/show", json={"model": "thinker"}).json()["capabilities"]


@pytest.mark.slow
def test_openais_client_follows_thoughts_in_a_stream_and_sends_them_back(http: httpx.Client) -> None:
    openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
    asked = {"model": "thinker", "input": "the king said", "max_output_tokens": 8, "temperature": 0}
    with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0) as client:
        with client.responses.stream(**asked) as stream:
            events = list(stream)
        deltas = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
        (thought,) = events[-1].response.output
        assert thought.content[0].text == "".join(deltas) == client.responses.create(**asked).output[0].content[0].text
        turns = [{"role": "user", "content": "the king said"}, thought.model_dump(), {"role": "user", "content": "so?"}]
        assert client.responses.create(**{**asked, "input": turns}).output[0].type == "reasoning"


@pytest.mark.slow
def test_a_model_that_does_not_think_is_not_told_to(http: httpx.Client) -> None:
    chat = {"model": "plain", "messages": [{"role": "user", "content": "x"}], "stream": False, "think": True}
    refused = http.post("/api/chat", json=chat)
    assert refused.status_code == 400
    assert "'plain' does not support thinking" in refused.json()["error"]
