"""What OpenAI's Responses API answers, typed: items, and the whole that holds them."""

from __future__ import annotations

from typing import Any

import msgspec

from synfire.gateway.language.response_bodies import FlatTool, TextOptions


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


class ThoughtText(msgspec.Struct, frozen=True):
    text: str
    type: str = "reasoning_text"


class OutputThoughts(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """What the model thinks before it answers. Nobody sums it up, so `summary` is always empty."""

    id: str
    content: tuple[ThoughtText, ...] = ()
    status: str = "completed"
    summary: tuple[()] = ()


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


Item = OutputMessage | OutputThoughts | OutputCall


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. It is not stored, whatever was asked for: `store` says so."""

    id: str
    created_at: int
    model: str
    output: list[Item]
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
