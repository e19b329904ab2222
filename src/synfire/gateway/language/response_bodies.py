"""What callers of OpenAI's Responses API send, typed, and the chat that it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from synfire.base.errors import UserError
from synfire.gateway.language.bodies import ChatBody, Count, Share, Temperature
from synfire.gateway.language.messages import ChatMessage, FunctionCall, Part, Role, ToolCall
from synfire.gateway.language.schemas import NamedSchema, ResponseFormat
from synfire.gateway.language.tools import MOST_TOOLS, Function, NamedFunction, NamedTool, Tool


class Item(msgspec.Struct, frozen=True):
    """A turn of the conversation: a message, a call of a function, what came of one, or what the model thought before the next turn."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Role = "user"
    content: str | list[Part] | None = ""
    call_id: str = ""
    name: str = ""
    arguments: str = "{}"
    output: str | list[Part] = ""

    def message(self) -> ChatMessage:
        """The turn as a chat has it."""
        if self.type == "function_call":
            call = ToolCall(self.call_id, FunctionCall(self.name, self.arguments))
            return ChatMessage("assistant", tool_calls=[call])
        if self.type == "function_call_output":
            return ChatMessage("tool", self.output, tool_call_id=self.call_id)
        return ChatMessage(self.role, self.content)

    @property
    def thought(self) -> str:
        """What the model thought, where the item says that."""
        parts = self.content if self.type == "reasoning" and isinstance(self.content, list) else []
        return "".join(each.text for each in parts)


class FlatTool(msgspec.Struct, frozen=True):
    """A function that is offered."""

    name: str
    type: Literal["function"] = "function"
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FlatChoice(msgspec.Struct, frozen=True):
    """This function, and no other."""

    name: str
    type: Literal["function"] = "function"


class FlatFormat(msgspec.Struct, frozen=True, rename={"body": "schema"}):
    """Text, any JSON object, or JSON as a schema says."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    body: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, frozen=True):
    format: FlatFormat = FlatFormat()
    verbosity: str | None = None


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/responses`. Nothing is stored, so the whole conversation is sent each time."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    stream: bool | None = None
    tools: Annotated[list[FlatTool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions = TextOptions()
    metadata: dict[str, str] | None = None
    store: bool | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None

    def chat(self) -> ChatBody:
        """The chat that it comes to. Raises `UserError` for an empty one."""
        items = [Item(content=self.input)] if isinstance(self.input, str) else self.input
        if not items:
            raise UserError("input has no items; send a text, or one message or more")
        system = [ChatMessage("system", self.instructions)] if self.instructions else []
        choice, form = self.tool_choice, self.text.format
        return ChatBody(
            model=self.model,
            messages=[*system, *_messages(items)],
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            tools=[
                Tool(Function(each.name, each.description, each.parameters, each.strict)) for each in self.tools or ()
            ],
            tool_choice=NamedTool(NamedFunction(choice.name)) if isinstance(choice, FlatChoice) else choice,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=ResponseFormat(form.type, NamedSchema(form.name, form.body)),
        )


def _messages(items: Sequence[Item]) -> Iterator[ChatMessage]:
    """The turns. Thoughts belong to the turn behind them; it is up to the template whether the model is told of them again."""
    thought = ""
    for item in items:
        if item.type == "reasoning":
            thought += item.thought
            continue
        message = item.message()
        if thought and message.role == "assistant":
            message = msgspec.structs.replace(message, reasoning_content=thought)
        thought = ""
        yield message
