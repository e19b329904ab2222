"""Answers as Ollama writes them: one object of JSON a line, of which the last tells what it took; or one for all."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from synfire.gateway.http import ErrorBody
from synfire.gateway.language.listening import Calling, Listener
from synfire.gateway.language.thinking import Thinking
from synfire.gateway.ollama.bodies import Call
from synfire.gateway.status import error_text
from synfire.ops.language_model import Piece

NDJSON = "application/x-ndjson"

LOADED, UNLOADED = "load", "unload"
"""Why an answer without text is done: the model was only to be there, or not to."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A line of an answer. Durations are in nanoseconds; `context` are the tokens of all that was said."""

    model: str
    created_at: str
    response: str | None = None
    thinking: str | None = None
    message: dict[str, Any] | None = None
    done: bool | None = None
    done_reason: str | None = None
    context: tuple[int, ...] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class Writer:
    """Writes one answer, in a chat or not. `began_s` is when the request came, `loaded_s` when its model was there."""

    def __init__(
        self,
        model: str,
        chat: bool,
        began_s: float,
        calling: Calling | None = None,
    ) -> None:
        self.model = model
        self.before: tuple[int, ...] | None = None
        self.thinking: Thinking | None = None
        self._chat = chat
        self._began_s = began_s
        self._loaded_s = time.monotonic()
        self._first_s = 0.0
        self._text = ""
        self._tokens: list[int] = []
        self._piece = Piece()
        self._listener = Listener(calling) if calling is not None else None
        self._calls: list[Call] = []
        self._thoughts = ""

    def add(self, number: int, piece: Piece) -> None:
        self._heard(piece)

    def whole(self) -> Line:
        return self._last(self._text, tuple(self._calls), self._thoughts)

    def beginning(self) -> Iterable[bytes]:
        return ()

    def event(self, number: int, piece: Piece) -> bytes:
        text, calls, thought = self._heard(piece)
        return _encoded(self._said(text, calls, thought, done=False)) if text or calls or thought else b""

    def ending(self) -> Iterable[bytes]:
        yield _encoded(self._last("", (), ""))

    def failed(self, error: Exception) -> bytes:
        return _encoded(ErrorBody(error_text(error)))

    def empty(self, reason: str) -> Line:
        """The answer to a request for no text."""
        return self._said("", (), "", done=True, done_reason=reason)

    def _heard(self, piece: Piece) -> tuple[str, tuple[Call, ...], str]:
        """What is new in a piece: text, calls of functions, and thoughts."""
        self._first_s = self._first_s or time.monotonic()
        self._piece = msgspec.structs.replace(piece, prompt_count=piece.prompt_count or self._piece.prompt_count)
        self._tokens += [each for each in piece.tokens if isinstance(each, int)]
        text, thought, ended = piece.text, "", bool(piece.finish)
        calls: tuple[Call, ...] = ()
        if self.thinking is not None:
            thought, text = self.thinking.take(text, ended)
        if self._listener is not None:
            text, found = self._listener.take(text, ended)
            calls = tuple(Call.of(each.function) for each in found)
        self._text += text
        self._calls += calls
        self._thoughts += thought
        return text, calls, thought

    def _last(self, text: str, calls: tuple[Call, ...], thought: str) -> Line:
        now_s = time.monotonic()
        first_s = self._first_s or now_s
        context = None if self.before is None else (*self.before, *self._tokens)
        return self._said(
            text,
            calls,
            thought,
            done=True,
            done_reason=self._piece.finish or "stop",
            context=context,
            total_duration=_nanoseconds(now_s - self._began_s),
            load_duration=_nanoseconds(self._loaded_s - self._began_s),
            prompt_eval_count=self._piece.prompt_count,
            prompt_eval_duration=_nanoseconds(first_s - self._loaded_s),
            eval_count=self._piece.count,
            eval_duration=_nanoseconds(now_s - first_s),
        )

    def _said(self, text: str, calls: tuple[Call, ...], thought: str, **more: Any) -> Line:
        line = Line(model=self.model, created_at=timestamp(time.time()), **more)
        if not self._chat:
            return msgspec.structs.replace(line, response=text, thinking=thought or None)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thought:
            message["thinking"] = thought
        if calls:
            message["tool_calls"] = [msgspec.to_builtins(each) for each in calls]
        return msgspec.structs.replace(line, message=message)


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has them."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _encoded(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
