"""Pieces as OpenAI's API answers them: whole, or chunk by chunk."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from synfire.ops.language_model import Piece, Scored

ASSISTANT = "assistant"


class Usage(msgspec.Struct, frozen=True):
    """Tokens: `completion_tokens` counts those of all choices, and the one that ended each."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class TopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[TopLogprob, ...]


class ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[TokenLogprob]


class Message(msgspec.Struct, frozen=True):
    content: str
    role: str = ASSISTANT


class ChatChoice(msgspec.Struct, frozen=True):
    index: int
    message: Message
    finish_reason: str
    logprobs: ChatLogprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: str = "chat.completion"


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str | None = None
    content: str | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    index: int
    delta: Delta
    finish_reason: str | None = None
    logprobs: ChatLogprobs | None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """Of a text completion: parallel lists, a place for each token; `text_offset` counts characters of the whole text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(msgspec.Struct, frozen=True):
    index: int
    text: str
    finish_reason: str | None
    logprobs: CompletionLogprobs | None = None


class Completion(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    object: str = "text_completion"


class Chunk(msgspec.Struct, frozen=True):
    """One event of a stream."""

    id: str
    created: int
    model: str
    object: str
    choices: list[ChunkChoice] | list[CompletionChoice]
    usage: Usage | None = None


@dataclass
class Choice:
    """One of the answers, as far as it has come."""

    text: str = ""
    scores: list[Scored] = field(default_factory=list)
    finish: str = ""
    count: int = 0
    prompt_count: int = 0

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.scores += piece.scores
        self.finish = piece.finish or self.finish
        self.count = max(self.count, piece.count)
        self.prompt_count = max(self.prompt_count, piece.prompt_count)


@dataclass(frozen=True)
class Writer:
    """Writes the answer to one request. `scored` says whether log-probabilities are wanted; choices of one prompt share its tokens."""

    model: str
    chat: bool
    choices: Sequence[Choice]
    per_prompt: int
    scored: bool
    id: str = ""
    created: int = 0

    @classmethod
    def of(cls, model: str, chat: bool, choices: int, per_prompt: int, scored: bool) -> Writer:
        """A writer for a new answer."""
        name = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        return cls(model, chat, [Choice() for _ in range(choices)], per_prompt, scored, name, int(time.time()))

    @property
    def usage(self) -> Usage:
        prompt = sum(each.prompt_count for each in self.choices[:: self.per_prompt])
        made = sum(each.count for each in self.choices)
        return Usage(prompt, made, prompt + made)

    def whole(self) -> ChatCompletion | Completion:
        """The whole answer, once all its pieces were added."""
        if self.chat:
            choices = [
                ChatChoice(n, Message(each.text), each.finish, self._chat_logprobs(each.scores))
                for n, each in enumerate(self.choices)
            ]
            return ChatCompletion(self.id, self.created, self.model, choices, self.usage)
        texts = [
            CompletionChoice(n, each.text, each.finish, self._logprobs(each.scores, 0))
            for n, each in enumerate(self.choices)
        ]
        return Completion(self.id, self.created, self.model, texts, self.usage)

    def beginning(self) -> Iterable[bytes]:
        """The events that come before any text: who speaks, in a chat."""
        if self.chat:
            for number in range(len(self.choices)):
                yield self._event([ChunkChoice(number, Delta(ASSISTANT, ""))])

    def event(self, number: int, piece: Piece) -> bytes:
        """The event, or events, of a piece, which is added to its choice."""
        before = len(self.choices[number].text)
        self.choices[number].add(piece)
        finish = piece.finish or None
        if not self.chat:
            scores = self._logprobs(piece.scores, before)
            return self._event([CompletionChoice(number, piece.text, finish, scores)])
        found = b""
        if piece.text or piece.scores:
            found = self._event([ChunkChoice(number, Delta(None, piece.text), None, self._chat_logprobs(piece.scores))])
        return found + (self._event([ChunkChoice(number, Delta(), finish)]) if finish else b"")

    def used(self) -> bytes:
        """The event that tells what was used."""
        return self._event([], self.usage)

    def _event(self, choices: list[Any], usage: Usage | None = None) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return event_of(Chunk(self.id, self.created, self.model, kind, choices, usage))

    def _chat_logprobs(self, scores: Sequence[Scored]) -> ChatLogprobs | None:
        if not self.scored:
            return None
        return ChatLogprobs(
            [
                TokenLogprob(
                    each.token,
                    each.logprob,
                    each.bytes,
                    tuple(TopLogprob(other.token, other.logprob, other.bytes) for other in each.likeliest),
                )
                for each in scores
            ]
        )

    def _logprobs(self, scores: Sequence[Scored], offset: int) -> CompletionLogprobs | None:
        if not self.scored:
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


def event_of(value: object) -> bytes:
    """A server-sent event with `value` as JSON."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
"""What ends every stream."""
