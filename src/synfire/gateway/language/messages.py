"""The messages of a chat, as callers send them and as templates take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from synfire.base.errors import UserError

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Part(msgspec.Struct, frozen=True):
    """A part of a message's content; models here read text alone."""

    type: str
    text: str = ""


class FunctionCall(msgspec.Struct, frozen=True):
    """A function that a model calls, with its `arguments` as JSON."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn; `reasoning_content` is what the model thought before it said so. `refusal` and such, which clients send back with what a
    model said, ask nothing."""

    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None

    def plain(self) -> dict[str, Any]:
        """As templates take it. Raises `UserError` for content that is no text, and for arguments that are no JSON."""
        role = "system" if self.role == "developer" else self.role
        found: dict[str, Any] = {"role": role, "content": text_of(self.content)}
        if self.name:
            found["name"] = self.name
        if self.tool_calls:
            found["tool_calls"] = [_plain_call(each) for each in self.tool_calls]
        if self.tool_call_id:
            found["tool_call_id"] = self.tool_call_id
        if self.reasoning_content:
            found["reasoning_content"] = self.reasoning_content
        return found


def text_of(content: str | Sequence[Part] | None) -> str:
    """The text of a message. Raises `UserError` for pictures and sounds."""
    if content is None or isinstance(content, str):
        return content or ""
    other = [each.type for each in content if each.type not in _TEXTS]
    if other:
        raise UserError(f"a message has content of type {other[0]!r}, and this model reads text alone; leave it out")
    return "".join(each.text for each in content)


_TEXTS = ("text", "input_text", "output_text")


def _plain_call(call: ToolCall) -> dict[str, Any]:
    """Templates take arguments as an object, and write JSON of their own."""
    try:
        arguments = msgspec.json.decode(call.function.arguments or "{}")
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(
            f"the arguments of tool call {call.id!r} are no JSON: {error}; send them as the model wrote them"
        ) from error
    return {"id": call.id, "type": call.type, "function": {"name": call.function.name, "arguments": arguments}}
