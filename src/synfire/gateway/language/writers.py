"""Pieces of answers as OpenAI's API gives them: whole, or event by event."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
from msgspec import UNSET

from synfire.gateway.language.answers import (
    ASSISTANT,
    DONE,
    CallDelta,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    Delta,
    FunctionDelta,
    Message,
    TokenLogprob,
    TopLogprob,
    Usage,
    event_of,
)
from synfire.gateway.language.errors import in_openai_shape
from synfire.gateway.language.listening import Calling, Listener, call_of
from synfire.gateway.language.messages import ToolCall
from synfire.gateway.language.thinking import Heard, Thinking
from synfire.ops.language_model import Piece, Scored


class Told(NamedTuple):
    """What callers want to be told beside the text: log-probabilities, and at the end of a stream what was used."""

    scores: bool = False
    usage: bool = False


CALLED = "tool_calls"
"""Why an answer ends that calls functions."""


class Writer(ABC):
    """Writes the answer to one request, of several choices; those of one prompt share its tokens."""

    kind: ClassVar[str]
    """What a chunk is called."""

    prefix: ClassVar[str]
    """What the answer's id begins with."""

    def __init__(self, model: str, choices: int, per_prompt: int, told: Told) -> None:
        self.model = model
        self.choices = [Choice() for _ in range(choices)]
        self.told = told
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._per_prompt = per_prompt

    @property
    def usage(self) -> Usage:
        """Tokens of prompts and answers."""
        prompt = sum(each.prompt_count for each in self.choices[:: self._per_prompt])
        made = sum(each.count for each in self.choices)
        return Usage(prompt, made, prompt + made)

    def add(self, number: int, piece: Piece) -> None:
        """A piece of a choice has come."""
        self.choices[number].add(piece)

    @abstractmethod
    def whole(self) -> msgspec.Struct:
        """The whole answer, once all its pieces were added."""

    @abstractmethod
    def beginning(self) -> Iterable[bytes]:
        """The events that come before any piece."""

    @abstractmethod
    def event(self, number: int, piece: Piece) -> bytes:
        """The event, or events, of a piece, which is added to its choice; nothing where it says nothing yet."""

    def ending(self) -> Iterable[bytes]:
        """What was used, where callers want that, and the mark that ends every stream."""
        if self.told.usage:
            yield self._event([], self.usage)
        yield DONE

    def failed(self, error: Exception) -> bytes:
        """The error as an event, and the end."""
        return event_of(in_openai_shape(error)) + DONE

    def _event(self, choices: list[Any], usage: Usage | None = None) -> bytes:
        return event_of(Chunk(self.id, self.created, self.model, self.kind, choices, usage))


class ChatWriter(Writer):
    """Writes what a model says in a chat, which functions it calls, and what it thinks, where `thinking` tells that apart."""

    kind = "chat.completion.chunk"
    prefix = "chatcmpl"

    def __init__(
        self,
        model: str,
        choices: int,
        told: Told,
        calling: Calling | None = None,
        thinking: Callable[[], Thinking] | None = None,
    ) -> None:
        super().__init__(model, choices, choices, told)
        self._thoughts = [thinking() for _ in self.choices] if thinking is not None else []
        self._only = calling.only if calling is not None else ""
        self._listeners = [Listener(calling) for _ in self.choices] if calling is not None else []

    def whole(self) -> ChatCompletion:
        choices = []
        for number, each in enumerate(self.choices):
            thought, said = self._apart(number, each.text, True)
            text, calls = self._heard(number, said, True)
            content = text if text or not calls else None
            message = Message(content, tool_calls=calls or UNSET, reasoning_content=thought or UNSET)
            finish = self._finish(number, each.finish)
            choices.append(ChatChoice(number, message, finish, self._logprobs(each.scores)))
        return ChatCompletion(self.id, self.created, self.model, choices, self.usage)

    def beginning(self) -> Iterable[bytes]:
        for number in range(len(self.choices)):
            yield self._event([ChunkChoice(number, Delta(ASSISTANT, ""))])

    def event(self, number: int, piece: Piece) -> bytes:
        delta = self._spelled(number, piece.text) if self._only else self._told(number, piece)
        self.add(number, piece)
        found = b""
        if delta != Delta() or piece.scores:
            found = self._event([ChunkChoice(number, delta, None, self._logprobs(piece.scores))])
        if piece.finish:
            found += self._event([ChunkChoice(number, Delta(), self._finish(number, piece.finish))])
        return found

    def _told(self, number: int, piece: Piece) -> Delta:
        """What is new: text, and calls, each whole."""
        first = self._listeners[number].called if self._listeners else 0
        thought, said = self._apart(number, piece.text, bool(piece.finish))
        text, calls = self._heard(number, said, bool(piece.finish))
        deltas = [CallDelta.of(first + place, each) for place, each in enumerate(calls)]
        return Delta(None, text or None, deltas or None, thought or None)

    def _spelled(self, number: int, text: str) -> Delta:
        """More of the arguments of the only call that may be."""
        if not self.choices[number].count:
            return Delta(None, None, [CallDelta.of(0, call_of(self._only, text))])
        return Delta(None, None, [CallDelta(0, FunctionDelta(None, text))] if text else None)

    def _apart(self, number: int, text: str, ended: bool) -> Heard:
        return self._thoughts[number].take(text, ended) if self._thoughts else Heard("", text)

    def _heard(self, number: int, text: str, ended: bool) -> tuple[str, list[ToolCall]]:
        return self._listeners[number].take(text, ended) if self._listeners else (text, [])

    def _finish(self, number: int, finish: str) -> str:
        called = bool(self._only) or (bool(self._listeners) and self._listeners[number].called > 0)
        return CALLED if called and finish == "stop" else finish

    def _logprobs(self, scores: Sequence[Scored]) -> ChatLogprobs | None:
        return ChatLogprobs([_token_logprob(each) for each in scores]) if self.told.scores else None


class TextWriter(Writer):
    """Writes how a text goes on. `echoes` are put before it: the prompt of each choice, where callers want that."""

    kind = "text_completion"
    prefix = "cmpl"

    def __init__(self, model: str, choices: int, per_prompt: int, told: Told, echoes: Sequence[str] = ()) -> None:
        super().__init__(model, choices, per_prompt, told)
        self._echoes = echoes or [""] * choices

    def whole(self) -> Completion:
        texts = [
            CompletionChoice(n, echo + each.text, each.finish, self._logprobs(each.scores, len(echo)))
            for n, (echo, each) in enumerate(zip(self._echoes, self.choices, strict=True))
        ]
        return Completion(self.id, self.created, self.model, texts, self.usage)

    def beginning(self) -> Iterable[bytes]:
        for number, echo in enumerate(self._echoes):
            if echo:
                yield self._event([CompletionChoice(number, echo, None)])

    def event(self, number: int, piece: Piece) -> bytes:
        before = len(self._echoes[number]) + len(self.choices[number].text)
        self.add(number, piece)
        scores = self._logprobs(piece.scores, before)
        return self._event([CompletionChoice(number, piece.text, piece.finish or None, scores)])

    def _logprobs(self, scores: Sequence[Scored], offset: int) -> CompletionLogprobs | None:
        if not self.told.scores:
            return None
        offsets = []
        for each in scores:
            offsets.append(offset)
            offset += len(each.token)
        return CompletionLogprobs(
            [each.token for each in scores],
            [each.logprob for each in scores],
            [{each.token: each.logprob} | {other.token: other.logprob for other in each.likeliest} for each in scores],
            offsets,
        )


def _token_logprob(scored: Scored) -> TokenLogprob:
    likeliest = tuple(TopLogprob(each.token, each.logprob, each.bytes) for each in scored.likeliest)
    return TokenLogprob(scored.token, scored.logprob, scored.bytes, likeliest)
