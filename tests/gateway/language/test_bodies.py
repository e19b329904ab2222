"""What callers of OpenAI's API may send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from synfire.base.errors import UserError
from synfire.gateway.language.bodies import ChatBody, CompletionBody, field_of, held, read_body
from synfire.ops.language_model import Generation

USER = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ChatBody:
    return read_body(msgspec.json.encode({"model": "m", "messages": USER, **fields}), ChatBody)


def completion(**fields: Any) -> CompletionBody:
    return read_body(msgspec.json.encode({"model": "m", "prompt": "hi", **fields}), CompletionBody)


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"stop": 5}, "stop"),
        ({"max_token": 5}, "max_token"),
        ({"best_of": 2}, "best_of"),
    ],
)
def test_a_field_at_fault_is_named(fields, at_fault):
    with pytest.raises(UserError) as error:
        chat(**fields)
    assert field_of(str(error.value)) == at_fault


def test_an_unknown_field_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        chat(temprature=1)
    with pytest.raises(UserError, match="no field 'zzz'"):
        chat(zzz=1)


def test_what_is_not_done_here_is_refused_unless_it_asks_for_nothing():
    assert chat(functions=[], function_call="none", user="me", metadata={"a": "b"}, best_of=1, modalities=["text"])
    with pytest.raises(UserError, match="functions is not done"):
        chat(functions=[{"name": "f"}])
    with pytest.raises(UserError, match="did you mean 'stop'"):
        completion(stpo="x")


def test_json_is_wanted_in_two_ways():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert chat().schema is None
    assert chat(response_format={"type": "text"}).schema is None
    assert chat(response_format={"type": "json_object"}).schema == {"type": "object"}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert chat(response_format=named).schema == schema
    with pytest.raises(UserError, match=r"put it under json_schema.schema"):
        _ = chat(response_format={"type": "json_schema", "json_schema": {"name": "x"}}).schema
    with pytest.raises(UserError) as error:
        chat(response_format={"type": "yaml"})
    assert field_of(str(error.value)) == "response_format"


def test_an_answer_by_chance_that_has_to_be_json_gets_a_seed():
    drawn = Generation("p", temperature=1.0)
    assert held(drawn, None).seed is None
    assert held(drawn, {}).repeatable
    assert held(Generation("p", seed=7), {}).seed == 7
    assert held(Generation("p", temperature=0), {}).seed is None
    assert held(drawn, None, ("<x>",)).shown == ("<x>",)


def test_tools_and_json_do_not_go_together():
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert chat(tools=tools).offer.open
    assert not chat(tools=tools, tool_choice="none", response_format={"type": "json_object"}).offer.open
    with pytest.raises(UserError, match="leave one of the two out"):
        _ = chat(tools=tools, response_format={"type": "json_object"}).offer


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"model":"m"}', b"[" * 100000])
def test_what_is_no_body_is_an_error(content):
    with pytest.raises(UserError):
        read_body(content, ChatBody)


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)])],
)
def test_prompts_are_texts_or_tokens_one_or_several(prompt, wanted):
    assert completion(prompt=prompt).prompts() == wanted


@pytest.mark.parametrize("prompt", [None, [], [[]], [1, "a"], {"a": 1}, [-1], ["a"] * 17])
def test_other_prompts_are_refused(prompt):
    with pytest.raises(UserError):
        completion(prompt=prompt).prompts()


def test_a_generation_has_what_the_body_asks_for():
    body = chat(seed=5, stop=["a", "b"], n=2, temperature=0, logit_bias={"7": 1})
    found = body.generation("p", 9, None, 1)
    assert (found.seed, found.stop, found.temperature, found.logit_bias, found.max_tokens) == (
        6,
        ("a", "b"),
        0,
        {7: 1},
        9,
    )
    defaults = chat().generation("p", None, None, 0)
    assert (defaults.temperature, defaults.top_p, defaults.seed, defaults.max_tokens) == (1.0, 1.0, None, None)
    with pytest.raises(UserError, match="empty text"):
        chat(stop=[""]).generation("p", 9, None, 0)
    with pytest.raises(UserError, match="tokens by their numbers"):
        chat(logit_bias={"the": 1}).generation("p", 9, None, 0)


def test_log_probabilities_are_asked_for_in_two_words():
    assert chat().likeliest() is None
    assert chat(logprobs=True).likeliest() == 0
    assert chat(logprobs=True, top_logprobs=3).likeliest() == 3
    with pytest.raises(UserError, match="needs logprobs"):
        chat(top_logprobs=3).likeliest()
