"""What Ollama's clients send. Fields that are not known are left alone, as Ollama does; options are not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from synfire.base.durations import parse_duration
from synfire.base.errors import UserError
from synfire.formats.modelfile import PARAMETERS, PAST
from synfire.gateway.language.messages import FunctionCall
from synfire.gateway.language.tools import Tool
from synfire.ops.language_model import Generation, Prompt

Body = TypeVar("Body", bound=msgspec.Struct)

RUNNING = ("num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "num_keep", "draft_num_predict", *PAST)
"""Options that say how Ollama's own engine runs a model, or that Ollama has no more: taken, and without effect."""

DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "repeat_penalty": 1.1,
    "repeat_last_n": 64,
}
"""What Ollama chooses where neither the request nor the Modelfile does."""

_MOST_SEED = 0xFFFFFFFF


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What requests for text have in common. `format` is `json` or a JSON Schema, to which the answer is held."""

    model: str
    stream: bool = True
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None
    format: str | dict[str, Any] | None = None
    think: Any = None

    @property
    def keep_s(self) -> float | None:
        """For how long the model stays after this; None for the deployment's own time. Raises `UserError`."""
        return None if self.keep_alive is None else parse_duration(self.keep_alive, "keep_alive")

    @property
    def schema(self) -> dict[str, Any] | None:
        """What the answer is held to. Raises `UserError`."""
        if self.format in (None, ""):
            return None
        if self.format == "json":
            return {"type": "object"}
        if isinstance(self.format, dict):
            return self.format
        raise UserError(f"format is {self.format!r}; it is json, or a JSON Schema")


class GenerateBody(Asked, frozen=True, kw_only=True):
    """`POST /api/generate`. With `raw` the prompt is given to the model as it is; `context` are the tokens of what was said before."""

    prompt: str = ""
    suffix: str = ""
    system: str | None = None
    template: str | None = None
    context: list[int] = []
    raw: bool = False
    images: list[str] | None = None


class CalledFunction(msgspec.Struct, frozen=True):
    name: str
    arguments: dict[str, Any] = {}


class Call(msgspec.Struct, frozen=True):
    function: CalledFunction

    def plain(self) -> dict[str, Any]:
        """As templates take it."""
        return {"type": "function", "function": {"name": self.function.name, "arguments": self.function.arguments}}

    @classmethod
    def of(cls, called: FunctionCall) -> Call:
        """A call that a model has made."""
        try:
            arguments = msgspec.json.decode(called.arguments, type=dict[str, Any])
        except msgspec.DecodeError:
            arguments = {"arguments": called.arguments}
        return cls(CalledFunction(called.name, arguments))


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a chat."""

    role: str
    content: str = ""
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None

    def plain(self) -> dict[str, Any]:
        """As templates take it. Raises `UserError` for pictures."""
        refuse_images(self.images)
        found: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            found["tool_calls"] = [each.plain() for each in self.tool_calls]
        if self.tool_name:
            found["name"] = self.tool_name
        return found


class ChatBody(Asked, frozen=True, kw_only=True):
    """`POST /api/chat`."""

    messages: list[Turn] = []
    tools: list[Tool] | None = None


class EmbedBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/embed`, and `/api/embeddings`, whose `prompt` is one text. `truncate` leaves out the end of what is too long."""

    model: str
    input: str | list[str] = []
    prompt: str = ""
    truncate: bool = True
    keep_alive: str | float | None = None
    options: dict[str, Any] | None = None
    dimensions: int | None = None


class ModelBody(msgspec.Struct, frozen=True, kw_only=True):
    """A model by its name, as `name` or, as it is called now, `model`."""

    model: str = ""
    name: str = ""
    stream: bool = True
    verbose: bool = False

    @property
    def called(self) -> str:
        """Its name. Raises `UserError` where there is none."""
        if not (self.model or self.name):
            raise UserError("model is missing; name one")
        return self.model or self.name


class CopyBody(msgspec.Struct, frozen=True):
    """`POST /api/copy`."""

    source: str
    destination: str


class CreateBody(ModelBody, frozen=True, kw_only=True):
    """`POST /api/create`: a model `from` another one or of `files`, which are blobs by their digests, with what a Modelfile says."""

    base: str = msgspec.field(default="", name="from")
    files: dict[str, str] = {}
    adapters: dict[str, str] = {}
    template: str | None = None
    system: str | None = None
    license: str | list[str] | None = None
    parameters: dict[str, Any] | None = None
    messages: list[Turn] | None = None
    quantize: str | None = None


def read(content: bytes, kind: type[Body]) -> Body:
    """The body. Raises `UserError` that says what does not fit."""
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"the body is not what this endpoint takes: {error}") from error


def refuse_images(images: list[str] | None) -> None:
    """Raise `UserError` for pictures, which no model here sees."""
    if images:
        raise UserError("models here read text alone; leave images out")


def options_of(given: Mapping[str, Any] | None, params: Mapping[str, Any], context: int) -> dict[str, Any]:
    """All options: the request's, the Modelfile's where it has none, and else Ollama's own.

    Raises `UserError` for one that is not known, with the nearest, or that cannot be had from a model with that `context`.
    """
    for name, value in (given or {}).items():
        if name not in PARAMETERS and name not in PAST:
            near = difflib.get_close_matches(name, PARAMETERS, 1)
            raise UserError(
                f"there is no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; leave it out")
            )
        _check(name, value)
    found = {**DEFAULTS, **params, **{name: each for name, each in (given or {}).items() if each is not None}}
    if found.get("num_ctx", 0) > context:
        raise UserError(
            f"num_ctx is {found['num_ctx']}, and the model was loaded with {context}; make one with PARAMETER num_ctx in its Modelfile"
        )
    if found.get("typical_p", 1.0) != 1.0:
        raise UserError("typical_p is not done by language models here; leave it out")
    return found


def generation(prompt: Prompt, options: Mapping[str, Any], context: int) -> Generation:
    """The request to a language model. Raises `UserError`."""
    last, seed, most = options["repeat_last_n"], options.get("seed", -1), options.get("num_predict", -1)
    stop = options.get("stop") or ()
    return Generation(
        prompt,
        max_tokens=most if most >= 0 else None,
        temperature=float(options["temperature"]),
        top_p=float(options["top_p"]),
        top_k=max(0, options["top_k"]),
        min_p=float(options.get("min_p", 0.0)),
        seed=seed & _MOST_SEED if seed >= 0 else None,
        stop=tuple(each for each in ([stop] if isinstance(stop, str) else stop) if each),
        frequency_penalty=float(options.get("frequency_penalty", 0.0)),
        presence_penalty=float(options.get("presence_penalty", 0.0)),
        repeat_penalty=1.0 if last == 0 else float(options["repeat_penalty"]),
        repeat_last_n=None if last < 0 or last >= context else last or None,
    )


def _check(name: str, value: Any) -> None:
    wanted = PARAMETERS.get(name)
    if value is None or wanted is None:
        return
    kinds: dict[type, tuple[type, ...]] = {float: (int, float), list: (list, str)}
    bad = not isinstance(value, kinds.get(wanted, (wanted,))) or (wanted is not bool and isinstance(value, bool))
    if bad:
        noun = {int: "whole number", float: "number", bool: "true or false", list: "list of texts"}[wanted]
        raise UserError(f"option {name} is {value!r}, and it is a {noun}")
