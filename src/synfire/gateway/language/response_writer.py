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
    """Writes the answer to one request: a message where the model says something, then the functions that it calls."""

    def __init__(self, body: ResponseBody, calling: Calling | None) -> None:
        self.model = body.model
        self._body = body
        self._id, self._created = _name("resp"), int(time.time())
        self._message = OutputMessage(_name("msg"))
        self._listener = Listener(calling) if calling is not None else None
        self._choice = Choice()
        self._calls: list[OutputCall] = []
        self._text = ""
        self._number = 0

    def add(self, number: int, piece: Piece) -> None:
        """A piece has come."""
        self._take(piece)

    def whole(self) -> Response:
        """The whole answer."""
        finish = self._choice.finish
        usage = ResponseUsage(
            self._choice.prompt_count, self._choice.count, self._choice.prompt_count + self._choice.count
        )
        said = [self._said()] if self._text or not self._calls else []
        if finish == "length":
            return self._response([*said, *self._calls], "incomplete", usage, Incomplete())
        return self._response([*said, *self._calls], "completed", usage)

    def beginning(self) -> Iterable[bytes]:
        """The answer, that it is on its way, empty."""
        empty = self._response([], "in_progress")
        yield self._event("response.created", response=empty)
        yield self._event("response.in_progress", response=empty)

    def event(self, number: int, piece: Piece) -> bytes:
        """The events of a piece."""
        begun, calls = bool(self._text), len(self._calls)
        text = self._take(piece)
        found = b"" if begun or not text else b"".join(self._opened())
        if text:
            found += self._of_text("response.output_text.delta", delta=text, logprobs=())
        if self._calls[calls:]:
            found += b"".join(self._closed()) if self._text and not calls else b""
            found += b"".join(self._called(place) for place in range(calls, len(self._calls)))
        return found

    def ending(self) -> Iterable[bytes]:
        """The end of the message, where no call has ended it, and the whole answer."""
        if not self._calls:
            if not self._text:
                yield from self._opened()
            yield from self._closed()
        whole = self.whole()
        yield self._event(f"response.{whole.status}", response=whole)

    def failed(self, error: Exception) -> bytes:
        """The answer, as far as it has come, and what ended it."""
        told = in_openai_shape(error).error
        broken = msgspec.structs.replace(
            self.whole(), status="failed", error={"code": told.code or told.type, "message": told.message}
        )
        return self._event("response.failed", response=broken)

    def _take(self, piece: Piece) -> str:
        """The new text."""
        self._choice.add(piece)
        text, calls = piece.text, list[ToolCall]()
        if self._listener is not None:
            text, calls = self._listener.take(piece.text, bool(piece.finish))
        self._text += text
        self._calls += [OutputCall(_name("fc"), each.id, each.function.name, each.function.arguments) for each in calls]
        return text

    def _said(self) -> OutputMessage:
        return msgspec.structs.replace(self._message, content=(OutputText(self._text),))

    def _opened(self) -> Iterable[bytes]:
        """The message and its text begin."""
        begun = msgspec.structs.replace(self._message, status="in_progress")
        yield self._event("response.output_item.added", output_index=0, item=begun)
        yield self._of_text("response.content_part.added", part=OutputText(""))

    def _closed(self) -> Iterable[bytes]:
        """The message and its text are whole."""
        yield self._of_text("response.output_text.done", text=self._text, logprobs=())
        yield self._of_text("response.content_part.done", part=OutputText(self._text))
        yield self._event("response.output_item.done", output_index=0, item=self._said())

    def _called(self, place: int) -> bytes:
        """A call, which is always told whole."""
        call, index = self._calls[place], place + bool(self._text)
        begun = msgspec.structs.replace(call, arguments="", status="in_progress")
        where = {"item_id": call.id, "output_index": index}
        return (
            self._event("response.output_item.added", output_index=index, item=begun)
            + self._event("response.function_call_arguments.delta", **where, delta=call.arguments)
            + self._event("response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments)
            + self._event("response.output_item.done", output_index=index, item=call)
        )

    def _of_text(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._message.id, output_index=0, content_index=0, **fields)

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


def _name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
