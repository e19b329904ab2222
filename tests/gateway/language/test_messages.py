"""Messages, as templates take them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from synfire.base.errors import UserError
from synfire.gateway.language.messages import ChatMessage


def message(**fields: Any) -> ChatMessage:
    return msgspec.convert(fields, ChatMessage)


def test_content_in_parts_is_one_text_and_pictures_are_refused():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert message(role="developer", content=parts).plain() == {"role": "system", "content": "ab"}
    with pytest.raises(UserError, match="image_url"):
        message(role="user", content=[{"type": "image_url", "image_url": {"url": "x"}}]).plain()


def test_calls_have_their_arguments_as_objects_and_answers_say_whose_they_are():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    plain = message(role="assistant", content=None, tool_calls=[call]).plain()
    assert plain["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert plain["content"] == ""
    assert message(role="tool", content="3", tool_call_id="c1").plain()["tool_call_id"] == "c1"


def test_what_a_model_thought_is_there_for_its_template():
    assert message(role="assistant", content="so", reasoning_content="hm").plain()["reasoning_content"] == "hm"
    assert "reasoning_content" not in message(role="assistant", content="so").plain()


def test_arguments_that_are_no_json_are_refused():
    call = {"id": "c1", "function": {"name": "f", "arguments": "{"}}
    with pytest.raises(UserError, match="tool call 'c1' are no JSON"):
        message(role="assistant", tool_calls=[call]).plain()
