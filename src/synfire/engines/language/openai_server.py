"""What is said to a server that speaks OpenAI's `POST /v1/completions`, and what it says: vLLM's form of it, and the plain one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from synfire.base.errors import ContextExceeded, PermanentError, SynfireError, UserError
from synfire.engines.language.answer import Made
from synfire.engines.language.exchange import Exchange
from synfire.ops.language_model import Generation, Likely, Scored, Tokens

COMPLETIONS = "/v1/completions"
MODEL = "model"
"""What every server calls its only model."""

_DONE = b"[DONE]"
_TOO_LONG = re.compile(r"context.length|maximum.{0,20}(length|tokens)|too long", re.IGNORECASE)


class _Logprobs(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    """What came of the answer, of which we read this much; or an error."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Told(msgspec.Struct):
    message: str = ""


class _Refused(msgspec.Struct):
    """An error, in OpenAI's form, or in that which vLLM once had."""

    error: _Told | None = None
    message: str = ""


def body_of(wanted: Generation, again: bool) -> dict[str, Any]:
    """The request: from the beginning `again`, or from what the caller has. Raises `PermanentError` where nobody can go on from that."""
    before = wanted.sent.count if wanted.sent.tokens and not again else 0
    body: dict[str, Any] = {
        "model": MODEL,
        "prompt": _prompt(wanted) if before else wanted.prompt,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "frequency_penalty": wanted.frequency_penalty,
        "presence_penalty": wanted.presence_penalty,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "return_token_ids": True,
    }
    body["max_tokens"] = None if wanted.max_tokens is None else wanted.max_tokens - before  # left out, it would be 16
    more = {
        "top_k": wanted.top_k or None,
        "min_p": wanted.min_p or None,
        "repetition_penalty": wanted.repeat_penalty if wanted.repeat_penalty != 1 else None,
        "seed": wanted.seed,
        "ignore_eos": wanted.ignore_eos or None,
        "logit_bias": {str(token): bias for token, bias in wanted.logit_bias.items()} or None,
        "logprobs": None if wanted.logprobs is None else max(1, wanted.logprobs),
    }
    return body | {name: value for name, value in more.items() if value is not None}


@dataclass
class Reader:
    """Reads the events of one answer. Its end is held back until the server has told how many tokens there were, which some tell last."""

    engine: str
    _count: int = 0
    _end: Made | None = None

    def made(self, exchange: Exchange) -> Iterator[Made]:
        """What the events say that have come. Raises `PermanentError` for what is no event, and what one says."""
        for data in exchange.events():
            event = _Event() if data == _DONE else self._read(data)
            for choice in event.choices:
                one = _made(choice, event.usage, self._count)
                self._count = one.count
                if one.finish and not event.usage:
                    self._end = one
                else:
                    yield one
            if self._end is not None and not event.choices:
                told = event.usage.prompt_tokens if event.usage else 0
                yield replace(self._end, prompt_count=told)
                self._end = None

    def _read(self, data: bytes) -> _Event:
        try:
            event = msgspec.json.decode(data, type=_Event)
        except msgspec.DecodeError as error:
            raise PermanentError(
                f"{self.engine} says {data[:200]!r}, which is no event of a completion: {error}"
            ) from error
        if event.error is not None:
            raise PermanentError(f"{self.engine} failed while it answered: {event.error}; ask again")
        return event


def refusal_of(exchange: Exchange, engine: str) -> SynfireError:
    """Why the server did not answer, or not to the end."""
    if exchange.status == 200 or not exchange.status:
        return PermanentError(f"{engine} has closed the connection in the midst of an answer; ask again")
    try:
        said = msgspec.json.decode(exchange.body, type=_Refused)
        message = said.error.message if said.error else said.message
    except msgspec.DecodeError:
        message = exchange.body[:500].decode(errors="replace")
    if exchange.status in (400, 413, 422):
        return (
            ContextExceeded(message)
            if _TOO_LONG.search(message)
            else UserError(f"{engine} refuses the request: {message}")
        )
    return PermanentError(f"{engine} failed with status {exchange.status}: {message}")


def _prompt(wanted: Generation) -> str | Tokens:
    """The prompt with what the caller has behind it: as text, or all as tokens."""
    sent = wanted.sent
    if isinstance(wanted.prompt, str):
        return wanted.prompt + sent.text
    found = (*wanted.prompt, *sent.tokens)
    if any(isinstance(each, str) for each in found):
        raise PermanentError("the engine was lost in the midst of this answer, and had not told its tokens; ask again")
    return found


def _made(choice: _Choice, usage: _Usage | None, before: int) -> Made:
    tokens = tuple(choice.token_ids or ())
    scores = tuple(_scored(choice.logprobs)) if choice.logprobs else ()
    count = usage.completion_tokens if usage else before + max(len(tokens), len(scores), bool(choice.text))
    told: Tokens = tokens or ((choice.text,) if choice.text else ())
    finish = {"length": "length"}.get(choice.finish_reason, "stop") if choice.finish_reason else ""
    return Made(choice.text, told, count, scores, finish, usage.prompt_tokens if usage else 0)


def _scored(of: _Logprobs) -> Iterator[Scored]:
    """Each token with its likeliest; OpenAI's form tells no bytes, so they are those of the text."""
    for place, (token, logprob) in enumerate(zip(of.tokens, of.token_logprobs, strict=True)):
        top = (of.top_logprobs or [])[place : place + 1]
        ordered = sorted((top[0] or {}).items() if top else (), key=lambda each: -each[1])
        likeliest = tuple(Likely(text, tuple(text.encode()), min(value, 0.0)) for text, value in ordered)
        yield Scored(token, tuple(token.encode()), min(logprob or 0.0, 0.0), likeliest)
