"""Answers as OpenAI's Responses API gives them: items, whole or event by event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec

from synfire.gateway.language.answers import Choice
from synfire.gateway.language.errors import in_openai_shape
from synfire.gateway.language.listening import Calling, Listener
from synfire.gateway.language.messages import ToolCall
from synfire.gateway.language.response_bodies import FlatTool, ResponseBody, TextOptions
from synfire.ops.language_model import Piece


class OutputText(msgspec.Struct, frozen=True):
    text: str
    type: str = "output_text"
    annotations: tuple[()] = ()
    logprobs: tuple[()] = ()


class OutputMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    id: str
    content: tuple[OutputText, ...] = ()
    status: str = "completed"
    role: str = "assistant"


class OutputCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """A function that the model calls; what came of it is sent back with its `call_id`."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: str = "completed"


class TokenDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class MadeDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens_details: MadeDetails = MadeDetails()


class Incomplete(msgspec.Struct, frozen=True):
    reason: str = "max_output_tokens"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. It is not stored, whatever was asked for: `store` says so."""

    id: str
    created_at: int
    model: str
    output: list[OutputMessage | OutputCall]
    status: str
    instructions: str | None
    temperature: float
    top_p: float
    max_output_tokens: int | None
    tools: list[FlatTool]
    tool_choice: Any
    parallel_tool_calls: bool
    text: TextOptions
    metadata: dict[str, str]
    usage: ResponseUsage | None = None
    incomplete_details: Incomplete | None = None
    error: dict[str, str] | None = None
    previous_response_id: str | None = None
    truncation: str = "disabled"
    store: bool = False
    object: str = "response"


class ResponseWriter:
    """Writes the answer to one request: what the model says are messages, between them are the functions that it calls."""

    def __init__(self, body: ResponseBody, calling: Calling | None) -> None:
        self.model = body.model
        self._body = body
        self._id, self._created = _name("resp"), int(time.time())
        self._listener = Listener(calling) if calling is not None else None
        self._choice = Choice()
        self._items: list[OutputMessage | OutputCall] = []
        self._open: OutputMessage | None = None
        self._number = 0

    def add(self, number: int, piece: Piece) -> None:
        """A piece has come."""
        self._choice.add(piece)

    def whole(self) -> Response:
        """The whole answer."""
        text, calls = self._heard(self._choice.text, True)
        said = [OutputMessage(_name("msg"), (OutputText(text),))] if text or not calls else []
        return self._finished([*said, *map(_called, calls)])

    def beginning(self) -> Iterable[bytes]:
        """The answer, that it is on its way, empty."""
        empty = self._response([], "in_progress")
        yield self._event("response.created", response=empty)
        yield self._event("response.in_progress", response=empty)

    def event(self, number: int, piece: Piece) -> bytes:
        """The events of a piece."""
        self._choice.add(piece)
        text, calls = self._heard(piece.text, bool(piece.finish))
        return b"".join((*(self._more(text) if text else ()), *(part for each in calls for part in self._call(each))))

    def ending(self) -> Iterable[bytes]:
        """The end of the last message, and the whole answer."""
        if not self._items and self._open is None:
            self._open = _message()
            yield from self._begun(self._open)
        yield from self._ended()
        whole = self._finished(self._items)
        yield self._event(f"response.{whole.status}", response=whole)

    def failed(self, error: Exception) -> bytes:
        """The answer, as far as it has come, and what ended it."""
        told = in_openai_shape(error).error
        items = [*self._items, *([self._open] if self._open is not None else [])]
        failed = msgspec.structs.replace(
            self._response(items, "failed"), error={"code": told.code or told.type, "message": told.message}
        )
        return self._event("response.failed", response=failed)

    def _heard(self, text: str, ended: bool) -> tuple[str, list[ToolCall]]:
        return self._listener.take(text, ended) if self._listener is not None else (text, [])

    def _more(self, text: str) -> Iterable[bytes]:
        """More of a message, which begins with it where none is open."""
        message = self._open or _message()
        if self._open is None:
            yield from self._begun(message)
        self._open = _said(message, _text_of(message) + text)
        yield self._of_text(message, "response.output_text.delta", delta=text, logprobs=())

    def _begun(self, message: OutputMessage) -> Iterable[bytes]:
        """A message begins, and its text."""
        yield self._event("response.output_item.added", output_index=len(self._items), item=message)
        yield self._of_text(message, "response.content_part.added", part=OutputText(""))

    def _ended(self) -> Iterable[bytes]:
        """The message that is open ends, and its text."""
        if self._open is None:
            return
        whole = _said(msgspec.structs.replace(self._open, status="completed"), _text_of(self._open))
        yield self._of_text(whole, "response.output_text.done", text=_text_of(whole), logprobs=())
        yield self._of_text(whole, "response.content_part.done", part=whole.content[0])
        yield self._event("response.output_item.done", output_index=len(self._items), item=whole)
        self._items.append(whole)
        self._open = None

    def _call(self, tool_call: ToolCall) -> Iterable[bytes]:
        """A call, which is always told whole."""
        yield from self._ended()
        call, index = _called(tool_call), len(self._items)
        begun = msgspec.structs.replace(call, arguments="", status="in_progress")
        where = {"item_id": call.id, "output_index": index}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        yield self._event("response.function_call_arguments.delta", **where, delta=call.arguments)
        yield self._event("response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments)
        yield self._event("response.output_item.done", output_index=index, item=call)
        self._items.append(call)

    def _finished(self, items: list[OutputMessage | OutputCall]) -> Response:
        """The answer that has ended."""
        prompt, made = self._choice.prompt_count, self._choice.count
        usage = ResponseUsage(prompt, made, prompt + made)
        if self._choice.finish == "length":
            return self._response(items, "incomplete", usage, Incomplete())
        return self._response(items, "completed", usage)

    def _of_text(self, message: OutputMessage, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=message.id, output_index=len(self._items), content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)

    def _response(
        self,
        output: list[OutputMessage | OutputCall],
        status: str,
        usage: ResponseUsage | None = None,
        incomplete: Incomplete | None = None,
    ) -> Response:
        body = self._body
        return Response(
            id=self._id,
            created_at=self._created,
            model=self.model,
            output=output,
            status=status,
            instructions=body.instructions,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            max_output_tokens=body.max_output_tokens,
            tools=list(body.tools or ()),
            tool_choice=body.tool_choice or "auto",
            parallel_tool_calls=body.parallel_tool_calls is not False,
            text=body.text,
            metadata=body.metadata or {},
            usage=usage,
            incomplete_details=incomplete,
        )


def _message() -> OutputMessage:
    return OutputMessage(_name("msg"), status="in_progress")


def _said(message: OutputMessage, text: str) -> OutputMessage:
    return msgspec.structs.replace(message, content=(OutputText(text),))


def _text_of(message: OutputMessage) -> str:
    return "".join(part.text for part in message.content)


def _called(call: ToolCall) -> OutputCall:
    return OutputCall(_name("fc"), call.id, call.function.name, call.function.arguments)


def _name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
