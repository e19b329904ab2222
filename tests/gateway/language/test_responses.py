"""OpenAI's Responses API, by its own client."""

from __future__ import annotations

import json
from typing import Any

import pytest

openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
pytestmark = pytest.mark.slow

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Bonn"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}


@pytest.fixture(scope="session")
def respond(client):
    """`respond(**fields)`: a short greedy answer."""

    def ask(**fields: Any) -> Any:
        usual = {"model": "tiny", "input": "the king said", "max_output_tokens": 12, "temperature": 0}
        return client.responses.create(**{**usual, **fields})

    return ask


def test_a_response_says_what_a_chat_would(respond, chat):
    answer = respond()
    assert answer.output_text == chat().choices[0].message.content
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 12
    assert answer.usage.total_tokens == answer.usage.input_tokens + 12
    assert answer.store is False


def test_instructions_and_items_make_a_conversation(respond, chat):
    turns = [{"role": "user", "content": "the king"}, {"role": "assistant", "content": "a sword"}]
    items: Any = [
        turns[0],
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a sword"}]},
    ]
    wanted = chat(messages=[{"role": "system", "content": "be brief"}, *turns]).choices[0].message.content
    assert respond(input=items, instructions="be brief").output_text == wanted


def test_a_stream_tells_of_an_item_from_its_beginning_to_its_end(respond):
    events = list(respond(stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == respond().output_text == events[-1].response.output_text


def test_the_clients_own_reader_of_streams_follows(client):
    form: Any = {"format": {"type": "json_schema", "name": "place", "schema": PARAMETERS}}
    with client.responses.stream(model="tiny", input="the king said", max_output_tokens=64, text=form) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == "".join(deltas)


def test_json_comes_as_its_schema_says(respond):
    form = {"type": "json_schema", "name": "place", "schema": PARAMETERS, "strict": True}
    answer = respond(text={"format": form}, max_output_tokens=64, temperature=1.3)
    assert json.loads(answer.output_text)["city"] in ("Rome", "Bonn")
    assert answer.status == "completed"


@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_called_and_their_results_read(respond, stream):
    asked: dict[str, Any] = {
        "model": "caller",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "max_output_tokens": 64,
    }
    if stream:
        events = list(respond(stream=True, **asked))
        answer = events[-1].response
        (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
        assert done.arguments == answer.output[0].arguments
        assert events[-1].type == "response.completed"
    else:
        answer = respond(**asked)
    (call,) = answer.output
    assert (call.type, call.name) == ("function_call", "weather")
    assert json.loads(call.arguments)["city"] in ("Rome", "Bonn")
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "hot"}
    again = [{"role": "user", "content": "the weather"}, call.model_dump(exclude={"status"}), told]
    assert respond(model="caller", input=again, tools=[WEATHER], tool_choice="none").output_text


@pytest.mark.parametrize(
    ("field", "value", "cure"),
    [
        ("previous_response_id", "resp_1", "send the whole conversation"),
        ("conversation", "conv_1", "send the whole of it"),
        ("truncation", "auto", "truncation"),
        ("background", True, "background"),
        ("include", ["message.output_text.logprobs"], "include is not done"),
        ("tools", [{"type": "web_search"}], "tools"),
    ],
)
def test_what_is_not_done_is_refused_by_name(respond, field, value, cure):
    with pytest.raises(openai.BadRequestError, match=cure):
        respond(**{field: value})


def test_errors_come_before_a_stream_begins(respond):
    with pytest.raises(openai.NotFoundError):
        respond(model="none", stream=True)
    with pytest.raises(openai.BadRequestError, match="chat_template"):
        respond(model="base", stream=True)
