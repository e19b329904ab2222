"""What callers of OpenAI's API send, typed; and what it asks of a language model.

A field that would change the answer and is not known here is refused, with the nearest that is known; what other services keep
books by is taken and left alone.
"""

from __future__ import annotations

import difflib
import re
import secrets
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from synfire.base.errors import UserError
from synfire.gateway.language.messages import ChatMessage
from synfire.gateway.language.schemas import ResponseFormat
from synfire.gateway.language.tools import MOST_TOOLS, Offer, Tool, ToolChoice
from synfire.ops.language_model import Generation, Prompt

MOST_CHOICES = 16
MOST_STOPS = 16
MOST_LOGPROBS = 20
MOST_TEXTS = 2048
"""Of which vectors are wanted at a time."""

Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(gt=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Choices = Annotated[int, Meta(ge=1, le=MOST_CHOICES)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Likeliest = Annotated[int, Meta(ge=0, le=MOST_LOGPROBS)]
Bias = dict[str, Annotated[float, Meta(ge=-100, le=100)]]
Stop = str | Annotated[list[str], Meta(max_length=MOST_STOPS)]
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What both kinds of completion have in common. Beyond OpenAI's: `top_k`, `min_p`, `repetition_penalty` and `ignore_eos`."""

    model: str
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: int | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Choices | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    logit_bias: Bias | None = None
    response_format: ResponseFormat | None = None
    ignore_eos: bool = False

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def usage_too(self) -> bool:
        """Whether a stream ends with what was used."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def schema(self) -> dict[str, Any] | None:
        """What the answer is held to, where it has to be JSON. Raises `UserError`."""
        return self.response_format.wanted if self.response_format is not None else None

    def generation(self, prompt: Prompt, max_tokens: int | None, logprobs: int | None, choice: int) -> Generation:
        """One of the wanted answers. Each has a seed of its own, so that they differ. Raises `UserError`."""
        return Generation(
            prompt,
            max_tokens,
            1.0 if self.temperature is None else self.temperature,
            1.0 if self.top_p is None else self.top_p,
            max(0, self.top_k or 0),
            self.min_p or 0.0,
            None if self.seed is None else self.seed + choice,
            _stops(self.stop),
            self.frequency_penalty or 0.0,
            self.presence_penalty or 0.0,
            self.repetition_penalty or 1.0,
            _biases(self.logit_bias or {}),
            logprobs,
            self.ignore_eos,
        )


class ChatBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Likeliest | None = None
    tools: Annotated[list[Tool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def offer(self) -> Offer:
        """The functions that the model may call. Raises `UserError` where it is to answer with JSON as well."""
        offer = Offer(self.tools or (), self.tool_choice or "auto", self.parallel_tool_calls is not False)
        offer.check(self.schema)
        return offer

    def likeliest(self) -> int | None:
        """How many likeliest tokens are told of each; None for no log-probabilities. Raises `UserError`."""
        if self.top_logprobs is not None and not self.logprobs:
            raise UserError("top_logprobs needs logprobs; set logprobs to true, or leave top_logprobs out")
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/completions`. `max_tokens` is 16 where it is left out, as it has always been there."""

    prompt: Any
    max_tokens: Count | None = 16
    logprobs: Likeliest | None = None
    echo: bool = False
    suffix: str | None = None

    def prompts(self) -> list[Prompt]:
        """The prompts. Raises `UserError`."""
        return texts_of("prompt", self.prompt, MOST_CHOICES)


_Body = TypeVar("_Body", bound=msgspec.Struct)

LEFT_ALONE = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    *("reasoning_effort", "verbosity"),
)
"""Fields that ask nothing of the model."""

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "include": ([],),
    "conversation": (),
    "previous_response_id": (),
    "reasoning": ({},),
    "prompt": (),
    "max_tool_calls": (),
    "top_logprobs": (0,),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "best_of": (1,),
}
"""Fields that ask for what is not done here, but for these values."""


_CURES = {
    "previous_response_id": "no answers are stored: send the whole conversation as input",
    "conversation": "no conversations are stored: send the whole of it as input",
}


def read_body(content: bytes, kind: type[_Body]) -> _Body:
    """The body. Raises `UserError` that names the field at fault."""
    try:
        fields = msgspec.json.decode(content or b"{}", type=dict[str, Any])
        body: _Body = msgspec.convert(fields, kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"the body is not what this endpoint takes: {error}") from error
    _refuse_asked(fields, kind)
    return body


_AT_FAULT = (
    r"`\$\.?\.*([A-Za-z_]+)",
    r"missing required field `(\w+)`",
    r"^there is no field '(\w+)'",
    r"^(\w+) is not done by language models here",
)
"""How errors name the field at fault: msgspec's, and ours."""


def field_of(text: str) -> str | None:
    """The field that the text of an error is about, as far as that can be told."""
    found = (re.search(each, text) for each in _AT_FAULT)
    return next((each[1] for each in found if each is not None), None)


def _refuse_asked(fields: dict[str, Any], kind: type[Any]) -> None:
    """Raise `UserError` for fields that ask for what is not done here."""
    known = kind.__struct_fields__
    for name, value in fields.items():
        if name in known or value is None:
            continue
        if name in LEFT_ALONE or value in _HARMLESS.get(name, ()):
            continue
        if name in _HARMLESS:
            raise UserError(f"{name} is not done by language models here; {_CURES.get(name, 'leave it out')}")
        near = difflib.get_close_matches(name, known, 1)
        raise UserError(f"there is no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; leave it out"))


def held(wanted: Generation, schema: dict[str, Any] | None, shown: tuple[str, ...] = ()) -> Generation:
    """The request, with its answer held to a schema. One by chance then gets a seed: it is made again where its engine is lost, since
    nobody can go on with JSON from its midst."""
    seed = wanted.seed
    if schema is not None and not wanted.repeatable:
        seed = secrets.randbits(32)
    return msgspec.structs.replace(wanted, schema=schema, shown=shown, seed=seed)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    found = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if "" in found:
        raise UserError("stop holds an empty text, at which every answer would end at once; leave it out")
    return found


def _biases(given: dict[str, float]) -> dict[int, float]:
    wrong = [key for key in given if not (key.isascii() and key.isdecimal() and len(key) < 10)]
    if wrong:
        raise UserError(f"logit_bias has the key {wrong[0]!r}; keys are tokens by their numbers")
    return {int(key): bias for key, bias in given.items()}


def texts_of(field: str, value: Any, most: int) -> list[Prompt]:
    """The prompts in a field: one text, several, one list of tokens, or several. Raises `UserError`."""
    found = _prompts(field, value)
    if isinstance(found, str):
        return [found]
    if found and isinstance(found[0], int):
        return [tuple(found)]
    prompts = [each if isinstance(each, str) else tuple(each) for each in found]
    if not 1 <= len(prompts) <= most or () in prompts:
        raise UserError(f"{field} holds {len(prompts)} texts; send 1 to {most}, none of them without a token")
    return prompts


def _prompts(field: str, value: Any) -> Any:
    """The value, checked. One type for all would be ambiguous to msgspec, so they are tried in turn. Raises `UserError`."""
    for kind in (str, list[str], list[Token], list[list[Token]]):
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            continue
    raise UserError(f"{field} is neither text, a list of texts, nor tokens by their numbers")
