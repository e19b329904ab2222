"""What callers of OpenAI's API read of pieces."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from synfire.base.errors import PermanentError
from synfire.gateway.language.listening import STYLES, Calling
from synfire.gateway.language.response_bodies import ResponseBody
from synfire.gateway.language.response_writer import ResponseWriter
from synfire.gateway.language.thinking import Thinking
from synfire.gateway.language.writers import ChatWriter, TextWriter, Told
from synfire.ops.language_model import Piece, Scored

HERMES = Calling(STYLES[0])
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
PIECES = (Piece("so ", (1,), count=1, prompt_count=7), Piece("it is", (2, 3), finish="stop", count=3))


def events(*parts: bytes) -> list[Any]:
    """The data of the events in these parts, without the mark of the end."""
    lines = b"".join(parts).decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def written(writer: Any, *pieces: Piece) -> list[Any]:
    """A whole stream of pieces of one answer."""
    return events(*writer.beginning(), *(writer.event(0, piece) for piece in pieces), *writer.ending())


def whole(writer: Any, *pieces: Piece) -> Any:
    for piece in pieces:
        writer.add(0, piece)
    return msgspec.to_builtins(writer.whole())


def test_a_chat_is_told_whole_and_in_events_alike():
    answer = whole(ChatWriter("m", 1, Told()), *PIECES)
    assert answer["choices"][0]["message"] == {"content": "so it is", "role": "assistant"}
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    chunks = written(ChatWriter("m", 1, Told(usage=True)), *PIECES)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "so "}, {"content": "it is"}, {}]
    assert chunks[-1]["usage"] == answer["usage"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]


@pytest.mark.parametrize("cut", range(0, len(CALL), 7))
def test_calls_are_told_whole_wherever_their_text_is_cut(cut):
    pieces = (Piece("see " + CALL[:cut], count=1), Piece(CALL[cut:], finish="stop", count=2))
    message = whole(ChatWriter("m", 1, Told(), HERMES), *pieces)["choices"][0]
    assert message["finish_reason"] == "tool_calls"
    assert message["message"]["content"] == "see "
    chunks = written(ChatWriter("m", 1, Told(), HERMES), *pieces)
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())]
    assert [call["function"] for call in calls] == [{"name": "f", "arguments": '{"a": 1}'}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_arguments_of_a_call_that_must_be_come_as_they_are_made():
    pieces = (Piece('{"a"', count=1), Piece(": 1}", count=2), Piece(finish="stop", count=3))
    chunks = written(ChatWriter("m", 1, Told(), Calling(only="f")), *pieces)
    first, more = (chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:3])
    assert (first["index"], first["type"], first["function"]) == (0, "function", {"name": "f", "arguments": '{"a"'})
    assert more == {"index": 0, "function": {"arguments": ": 1}"}}
    assert chunks[3]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "tool_calls", "logprobs": None}


def test_an_answer_of_nothing_but_calls_has_no_content():
    message = whole(ChatWriter("m", 1, Told(), HERMES), Piece(CALL, finish="stop"))["choices"][0]["message"]
    assert message["content"] is None


def test_a_call_that_was_cut_off_is_told_as_text():
    choice = whole(ChatWriter("m", 1, Told(), HERMES), Piece(CALL[:20], finish="length"))["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL[:20], "length")


def test_prompts_stand_before_their_answers_and_places_count_from_them():
    scored = Piece("xy", scores=(Scored("x", (120,), -1.0), Scored("y", (121,), -2.0)), finish="stop")
    choice = whole(TextWriter("m", 1, 1, Told(scores=True), ["a king"]), scored)["choices"][0]
    assert choice["text"] == "a kingxy"
    assert choice["logprobs"]["text_offset"] == [6, 7]
    chunks = written(TextWriter("m", 1, 1, Told(), ["a king"]), scored)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a king", "xy"]


def test_a_stream_that_fails_ends_with_the_error():
    end = ChatWriter("m", 1, Told()).failed(PermanentError("the disk is full"))
    assert events(end)[0]["error"]["message"] == "the disk is full"
    assert end.endswith(b"data: [DONE]\n\n")


def response(**fields: Any) -> ResponseBody:
    return msgspec.convert({"model": "m", "input": "hi", **fields}, ResponseBody)


def test_a_response_has_a_message_and_then_its_calls():
    said = written(ResponseWriter(response(), HERMES), Piece("see ", count=1), Piece(CALL, finish="stop", count=9))
    assert [each["type"].removeprefix("response.") for each in said] == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "output_item.added"),
        *("function_call_arguments.delta", "function_call_arguments.done", "output_item.done", "completed"),
    ]
    assert [each["sequence_number"] for each in said] == list(range(len(said)))
    assert [each["output_index"] for each in said if "output_index" in each] == [0] * 6 + [1] * 4
    message, call = said[-1]["response"]["output"]
    assert message["content"][0]["text"] == "see "
    assert (call["name"], call["arguments"]) == ("f", '{"a": 1}')


def test_what_is_said_behind_a_call_is_another_message():
    pieces = (Piece(CALL, count=9), Piece(" there", finish="stop", count=10))
    said = written(ResponseWriter(response(), HERMES), *pieces)
    assert [each["type"] for each in said[-1]["response"]["output"]] == ["function_call", "message"]
    assert [each["output_index"] for each in said if "output_index" in each] == [0] * 4 + [1] * 6
    assert said[-1]["response"]["output"][1]["content"][0]["text"] == "there"


def test_a_response_without_a_word_has_an_empty_message():
    said = written(ResponseWriter(response(), None), Piece(finish="stop"))
    assert said[-1]["response"]["output"][0]["content"][0]["text"] == ""
    assert said[-1]["type"] == "response.completed"


def test_a_response_that_fails_says_how_far_it_came():
    writer = ResponseWriter(response(), None)
    written_so_far = events(*writer.beginning(), writer.event(0, PIECES[0]))
    (failed,) = events(writer.failed(PermanentError("the disk is full")))
    assert failed["sequence_number"] == len(written_so_far)
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["message"] == "the disk is full"
    assert failed["response"]["output"][0]["content"][0]["text"] == "so "


def test_a_response_is_asked_as_a_chat():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'}
    items = [{"role": "user", "content": "hi"}, call, {"type": "function_call_output", "call_id": "c", "output": "3"}]
    chat = response(
        input=items, instructions="be brief", tool_choice={"type": "function", "name": "f"}, top_p=0.5
    ).chat()
    assert [each.role for each in chat.messages] == ["system", "user", "assistant", "tool"]
    assert chat.messages[2].plain()["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert (chat.messages[3].tool_call_id, chat.top_p) == ("c", 0.5)


THOUGHT = (
    Piece("<think>", (1,), count=1, prompt_count=7),
    Piece("hm</think>", (2, 3), count=3),
    Piece("\n\nsee ", (4,), count=4),
    Piece(CALL, (5,), finish="stop", count=5),
)


def test_thoughts_are_an_item_before_the_answer_whole_and_in_events_alike():
    said = written(ResponseWriter(response(), HERMES, Thinking), *THOUGHT)
    assert [each["type"].removeprefix("response.") for each in said if each.get("output_index") == 0] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
    ]
    answer = whole(ResponseWriter(response(), HERMES, Thinking), *THOUGHT)
    for output in (answer["output"], said[-1]["response"]["output"]):
        assert [each["type"] for each in output] == ["reasoning", "message", "function_call"]
        assert [each["content"][0]["text"] for each in output[:2]] == ["hm", "see "]
    assert answer["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert said[-1]["response"]["usage"] == answer["usage"]


def test_an_answer_that_ends_among_its_thoughts_has_no_message():
    pieces = (Piece("<think>hm", count=2), Piece(" so", finish="length", count=3))
    said = written(ResponseWriter(response(), None, Thinking), *pieces)[-1]["response"]
    for answer in (said, whole(ResponseWriter(response(), None, Thinking), *pieces)):
        assert [(each["type"], each["content"][0]["text"]) for each in answer["output"]] == [("reasoning", "hm so")]
        assert answer["status"] == "incomplete"


def test_thoughts_that_are_sent_back_belong_to_the_turn_behind_them():
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    sealed = {"type": "reasoning", "id": "rs_2", "summary": [], "content": None, "encrypted_content": "x"}
    said = {"type": "message", "role": "assistant", "content": "so"}
    items = [{"role": "user", "content": "hi"}, thought, said, sealed, said, {"role": "user", "content": "and?"}]
    plain = [each.plain() for each in response(input=items).chat().messages]
    assert [each["role"] for each in plain] == ["user", "assistant", "assistant", "user"]
    assert [each.get("reasoning_content") for each in plain] == [None, "hm", None, None]
