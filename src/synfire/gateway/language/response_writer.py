"""Answers as OpenAI's Responses API gives them: items, whole or event by event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from synfire.gateway.language.answers import Choice
from synfire.gateway.language.errors import in_openai_shape
from synfire.gateway.language.listening import Calling, Listener
from synfire.gateway.language.messages import ToolCall
from synfire.gateway.language.response_answers import (
    Incomplete,
    Item,
    MadeDetails,
    OutputCall,
    OutputMessage,
    OutputText,
    OutputThoughts,
    Response,
    ResponseUsage,
    ThoughtText,
)
from synfire.gateway.language.response_bodies import ResponseBody
from synfire.gateway.language.thinking import Heard, Thinking
from synfire.ops.language_model import Piece

_Opened = OutputMessage | OutputThoughts
"""What is told bit by bit."""


class ResponseWriter:
    """Writes the answer to one request: first what the model thinks, where `thinking` tells that apart; what it says are messages, between
    them are the functions that it calls."""

    def __init__(
        self, body: ResponseBody, calling: Calling | None, thinking: Callable[[], Thinking] | None = None
    ) -> None:
        self.model = body.model
        self._body = body
        self._id, self._created = _name("resp"), int(time.time())
        self._thinking = thinking() if thinking is not None else None
        self._listener = Listener(calling) if calling is not None else None
        self._choice = Choice()
        self._thought = self._said = ""
        self._thought_tokens = 0
        self._items: list[Item] = []
        self._open: _Opened | None = None
        self._number = 0

    def add(self, number: int, piece: Piece) -> None:
        """A piece has come."""
        thought, said = self._apart(piece)
        self._thought += thought
        self._said += said

    def whole(self) -> Response:
        """The whole answer."""
        text, calls = self._heard(self._said, True)
        thoughts = [_thoughts(self._thought)] if self._thought else []
        said = [_message(text)] if text or not (calls or thoughts) else []
        return self._finished([*thoughts, *said, *map(_called, calls)])

    def beginning(self) -> Iterable[bytes]:
        """The answer, that it is on its way, empty."""
        empty = self._response([], "in_progress")
        yield self._event("response.created", response=empty)
        yield self._event("response.in_progress", response=empty)

    def event(self, number: int, piece: Piece) -> bytes:
        """The events of a piece."""
        thought, said = self._apart(piece)
        text, calls = self._heard(said, bool(piece.finish))
        events = [*(self._more(_thoughts(thought)) if thought else ()), *(self._more(_message(text)) if text else ())]
        return b"".join((*events, *(part for each in calls for part in self._call(each))))

    def ending(self) -> Iterable[bytes]:
        """The end of the last message, and the whole answer."""
        if not self._items and self._open is None:
            self._open = _message("")
            yield from self._begun(self._open)
        yield from self._ended()
        whole = self._finished(self._items)
        yield self._event(f"response.{whole.status}", response=whole)

    def failed(self, error: Exception) -> bytes:
        """The answer, as far as it has come, and what ended it."""
        told = in_openai_shape(error).error
        items = [*self._items, *([_unfinished(self._open)] if self._open is not None else [])]
        failed = msgspec.structs.replace(
            self._response(items, "failed"), error={"code": told.code or told.type, "message": told.message}
        )
        return self._event("response.failed", response=failed)

    def _apart(self, piece: Piece) -> Heard:
        """What a piece brings of the thoughts, and of the answer."""
        self._choice.add(piece)
        if self._thinking is None:
            return Heard("", piece.text)
        heard = self._thinking.take(piece.text, bool(piece.finish))
        if heard.thought:
            self._thought_tokens = self._choice.count
        return heard

    def _heard(self, text: str, ended: bool) -> tuple[str, list[ToolCall]]:
        return self._listener.take(text, ended) if self._listener is not None else (text, [])

    def _more(self, more: _Opened) -> Iterable[bytes]:
        """More of a message or of thoughts, which begin with it where none are open."""
        if self._open is not None and self._open.content[0].type != more.content[0].type:
            yield from self._ended()
        if self._open is None:
            self._open = _with(more, "")
            yield from self._begun(self._open)
        text = more.content[0].text
        self._open = _with(self._open, self._open.content[0].text + text)
        yield self._of_text(self._open, "delta", delta=text)

    def _begun(self, opened: _Opened) -> Iterable[bytes]:
        """A message begins, or thoughts do, and the text."""
        empty = msgspec.structs.replace(_unfinished(opened), content=())
        yield self._event("response.output_item.added", output_index=len(self._items), item=empty)
        yield self._of_part(opened, "added")

    def _ended(self) -> Iterable[bytes]:
        """What is open ends, and its text."""
        if self._open is None:
            return
        yield self._of_text(self._open, "done", text=self._open.content[0].text)
        yield self._of_part(self._open, "done")
        yield self._event("response.output_item.done", output_index=len(self._items), item=self._open)
        self._items.append(self._open)
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

    def _finished(self, items: list[Item]) -> Response:
        """The answer that has ended."""
        prompt, made = self._choice.prompt_count, self._choice.count
        usage = ResponseUsage(prompt, made, prompt + made, output_tokens_details=MadeDetails(self._thought_tokens))
        if self._choice.finish == "length":
            return self._response(items, "incomplete", usage, Incomplete())
        return self._response(items, "completed", usage)

    def _of_text(self, opened: _Opened, what: str, **fields: str) -> bytes:
        (part,) = opened.content
        more: dict[str, Any] = {"logprobs": ()} if isinstance(part, OutputText) else {}
        return self._event(f"response.{part.type}.{what}", **self._where(opened), **fields, **more)

    def _of_part(self, opened: _Opened, what: str) -> bytes:
        return self._event(f"response.content_part.{what}", **self._where(opened), part=opened.content[0])

    def _where(self, opened: _Opened) -> dict[str, Any]:
        return {"item_id": opened.id, "output_index": len(self._items), "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)

    def _response(
        self,
        output: list[Item],
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


def _message(text: str) -> OutputMessage:
    return OutputMessage(_name("msg"), (OutputText(text),))


def _thoughts(text: str) -> OutputThoughts:
    return OutputThoughts(_name("rs"), (ThoughtText(text),))


def _with(opened: _Opened, text: str) -> _Opened:
    """The same with that text."""
    (part,) = opened.content
    return msgspec.structs.replace(opened, content=(msgspec.structs.replace(part, text=text),))


def _unfinished(opened: _Opened) -> _Opened:
    return msgspec.structs.replace(opened, status="in_progress")


def _called(call: ToolCall) -> OutputCall:
    return OutputCall(_name("fc"), call.id, call.function.name, call.function.arguments)


def _name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
