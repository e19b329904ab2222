"""What OpenAI's API answers to chats and to texts, typed: whole, or chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET, UnsetType

from synfire.gateway.language.messages import ToolCall
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
    content: str | None
    role: str = ASSISTANT
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


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


class FunctionDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function's name, and more of its arguments."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a function, or more of its arguments: `index`, which is always told, tells calls of one answer apart."""

    index: int
    function: FunctionDelta
    id: str | None = None
    type: str | None = None

    @classmethod
    def of(cls, index: int, call: ToolCall) -> CallDelta:
        """A whole call, or how it begins."""
        return cls(index, FunctionDelta(call.function.name, call.function.arguments), call.id, call.type)


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str | None = None
    content: str | None = None
    tool_calls: list[CallDelta] | None = None
    reasoning_content: str | None = None


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


def event_of(value: object) -> bytes:
    """A server-sent event with `value` as JSON."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
"""What ends every stream."""
