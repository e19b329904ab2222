"""Answers that have to be JSON, and functions that are called, by OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
pytestmark = pytest.mark.slow

CHAT: list[Any] = [{"role": "user", "content": "the king said"}]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Bonn"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": SCHEMA}}
NAMED: Any = {"type": "function", "function": {"name": "weather"}}


def fits(answer: str) -> bool:
    found = json.loads(answer)
    return found.keys() == {"city", "days"} and found["city"] in ("Rome", "Bonn") and found["days"] in range(1, 10)


def test_an_answer_is_json_as_its_schema_says(chat, complete):
    wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
    for model in ("tiny", "base"):
        fields = {"max_tokens": 64, "temperature": 1.3, "response_format": wanted}
        if model == "tiny":
            assert fits(chat(**fields).choices[0].message.content)
        else:
            assert fits(complete(model=model, extra_body=fields).choices[0].text)
    assert chat(response_format={"type": "json_object"}).choices[0].message.content[0] == "{"


def test_a_schema_that_cannot_be_held_to_is_refused_by_name(chat):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "a+"}}}
    with pytest.raises(openai.BadRequestError, match="'pattern', which no grammar can promise"):
        chat(response_format=wanted)


def test_a_function_that_must_be_called_is(chat):
    (call,) = chat(model="caller", max_tokens=64, tools=[WEATHER], tool_choice=NAMED).choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert fits(call.function.arguments)
    forced = {"max_tokens": 200, "temperature": 1.3, "tool_choice": "required", "parallel_tool_calls": False}
    (choice,) = chat(model="caller", tools=[WEATHER], **forced).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (only,) = choice.message.tool_calls
    assert fits(only.function.arguments)


def test_calls_come_in_streams_too(chat):
    fields: Any = {"model": "caller", "max_tokens": 64, "tools": [WEATHER], "tool_choice": NAMED}
    chunks = list(chat(stream=True, **fields))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert (calls[0].index, calls[0].function.name, bool(calls[0].id)) == (0, "weather", True)
    whole = chat(**fields).choices[0].message.tool_calls[0].function.arguments
    assert "".join(call.function.arguments for call in calls) == whole
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_what_was_called_and_what_came_of_it_go_into_the_prompt(chat):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    turns: Any = [
        *CHAT,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "hot"},
    ]
    assert chat(model="caller", messages=turns, tools=[WEATHER]).choices[0].message.content
    assert chat(model="caller", messages=turns).usage.prompt_tokens > chat(model="caller").usage.prompt_tokens


def test_a_model_that_was_not_trained_to_call_functions_says_so(chat):
    with pytest.raises(openai.BadRequestError, match="takes no tools"):
        chat(tools=[WEATHER])
    assert chat(tools=[WEATHER], tool_choice="none").choices[0].message.content


def test_a_prompt_is_said_again(client, complete):
    answer = complete(echo=True)
    assert answer.choices[0].text == "the king said" + complete().choices[0].text
    assert "".join(chunk.choices[0].text for chunk in complete(echo=True, stream=True)) == answer.choices[0].text
    tokens = httpx.post(f"{client.base_url}../tokenize", json={"model": "tiny", "prompt": "the king said"}).json()[
        "tokens"
    ]
    assert "king said" in complete(prompt=tokens, echo=True).choices[0].text
    with pytest.raises(openai.BadRequestError, match="echo with logprobs"):
        complete(echo=True, logprobs=1)


def test_a_model_that_was_not_trained_to_fill_in_says_so(complete):
    with pytest.raises(openai.BadRequestError, match="has no tokens for that"):
        complete(suffix="the end")
    assert complete(suffix="").choices[0].text


def test_a_model_that_was_trained_for_that_fills_in(complete):
    plain, filled = complete(model="base"), complete(model="base", suffix=" the queen")
    assert filled.usage.prompt_tokens > plain.usage.prompt_tokens + 3
    assert filled.choices[0].text
