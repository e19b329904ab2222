"""A whole language model as one operator: the coarsest there is. What it takes and gives is typed here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Operator, State, operator
from synfire.ops.signal import Array, Clock, Kind, Signal

_DIGEST = re.compile(r"[0-9a-f]{64}")

Tokens = tuple[int | str, ...]
"""Tokens by their numbers; a text stands for those whose numbers the engine did not tell."""


Pooling = Literal["", "mean", "cls", "last", "rank"]
"""How the vectors of a text's tokens become one: their mean, the first, or the last one; `rank` gives a number instead."""


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a caller already has of an answer: its text and tokens, how many these are, and how many the prompt has."""

    text: str = ""
    tokens: Tokens = ()
    count: int = 0
    prompt_count: int = 0


Task = Literal["generate", "embed", "rank", "tokenize", "detokenize"]
"""What a language model is asked to do with a prompt: go on from it, give its vector, say how well `passage` answers it, give its
tokens by their numbers, or give the text of these."""

Prompt = str | Tokens
"""Text, or tokens by their numbers; a text among these stands for its tokens, and nothing is put before it."""


class Generation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request to a language model: what to go on from, how to choose tokens, and when to end.

    At most `max_tokens` are given, as many as the context holds where that is None. A `temperature` of 0 always takes the likeliest
    token. Answers with a `seed` are repeatable; without one they are drawn anew each time. `top_k` 0 stands for all. With
    `logprobs` each token comes with its log-probability and those of so many likeliest ones. What the caller has already is in
    `sent`: it is not given again.

    An answer that has to be JSON is so by a JSON Schema in `schema`. Special tokens have no text, but for those `shown`; `tokenize` puts
    those before a text that its tokenizer does, unless `special` is false. Any other `task` than `generate` is answered by one piece.
    """

    prompt: Prompt
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None
    ignore_eos: bool = False
    sent: Sent = Sent()
    task: Task = "generate"
    passage: str = ""
    schema: dict[str, Any] | None = None
    shown: tuple[str, ...] = ()
    special: bool = True
    repeat_last_n: int | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the answer shall come out the same each time."""
        return self.seed is not None or self.temperature == 0

    @property
    def needs(self) -> frozenset[Ability]:
        """What an engine has to be able to, to answer."""
        asked: dict[Ability, bool] = {
            self.task: True,
            "schema": self.schema is not None,
            "shown": bool(self.shown),
            "logprobs": self.logprobs is not None,
            "logit_bias": bool(self.logit_bias),
        }
        return frozenset(name for name, wanted in asked.items() if wanted)

    def check_for(self, engine: str, abilities: Collection[Ability]) -> None:
        """Raise `UserError`, which names what is asked for, where an `engine` of these `abilities` cannot answer."""
        missing = sorted(self.needs - set(abilities))
        if missing:
            raise UserError(
                f"engine {engine} cannot {_TELLING[missing[0]]}; leave it out, or serve a model that another engine runs"
            )


Ability = Literal["generate", "embed", "rank", "tokenize", "detokenize", "schema", "shown", "logprobs", "logit_bias"]
"""Tasks, and further fields of a request, that an engine may not be able to do."""

_TELLING: dict[Ability, str] = {
    "generate": "go on from a text",
    "embed": "give a text's vector (task embed)",
    "rank": "rank passages (task rank)",
    "tokenize": "tell a text's tokens (task tokenize)",
    "detokenize": "tell the text of tokens (task detokenize)",
    "schema": "hold an answer to a JSON schema (schema)",
    "shown": "show special tokens (shown)",
    "logprobs": "tell the probabilities of tokens (logprobs)",
    "logit_bias": "make tokens likelier or not (logit_bias)",
}


class Likely(msgspec.Struct, frozen=True, array_like=True):
    """A token that could have been, and its log-probability."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class Scored(msgspec.Struct, frozen=True, array_like=True):
    """A token of the answer with its log-probability, and the likeliest ones in its place."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    likeliest: tuple[Likely, ...] = ()


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a language model gives at a step: text, and the tokens that it is made of.

    `count` is how many tokens were made up to here, with those that the caller had before, `prompt_count` how many the prompt has.
    The last piece says in `finish` why the answer ends: `stop` where the model ended it or a stop word came, `length` where
    `max_tokens` or the context did.

    The answer to another task is one such piece, with `finish` `stop`: `tokens` or `text`; or `vector`, float32 numbers, little endian,
    of Euclidean length 1; or `relevance`, of a passage, the greater the better.
    """

    text: str = ""
    tokens: Tokens = ()
    scores: tuple[Scored, ...] = ()
    finish: str = ""
    count: int = 0
    prompt_count: int = 0
    vector: bytes = b""
    relevance: float = 0.0


@operator
@dataclass(frozen=True, eq=False)
class LanguageModel(Operator):
    """pieceₙ ~ p(piece | request, piece₀ … pieceₙ₋₁): a language model, whole, as an engine of its own runs it.

    Takes a `Generation` and gives one `Piece` per step, both as JSON; how many steps, shows when the answer ends. `weights` are its
    files by name, each with the SHA-256 of its content, `weight_bytes` long together, in the `format` `gguf`. It holds `context`
    tokens for each of `streams` answers at a time, which takes `token_bytes` a token. A model that was trained to give vectors, and no
    text, has its `pooling`: how those of its tokens become one; or `rank`, where it gives the relevance of passages.
    """

    whole: ClassVar[bool] = True
    open_ended: ClassVar[bool] = True

    format: str
    weights: tuple[tuple[str, str], ...]
    weight_bytes: int
    context: int
    streams: int = 8
    token_bytes: int = 0
    pooling: Pooling = ""

    def check(self) -> None:
        bad = [name for name, digest in self.weights if not _DIGEST.fullmatch(digest)]
        if not self.weights or bad:
            raise UserError(f"{self.kind}.weights: {bad or 'there are none'}; each is a file's name and its SHA-256")
        if min(self.context, self.streams) < 1:
            raise UserError(
                f"{self.kind}: context is {self.context} tokens and streams {self.streams}; both are 1 or more"
            )

    @property
    def parameter_bytes(self) -> int:
        return self.weight_bytes

    @property
    def memory_bytes(self) -> int:
        """What it takes to run: weights, and the keys and values of all tokens."""
        return self.weight_bytes + self.context * self.streams * self.token_bytes

    @property
    def file_digests(self) -> tuple[str, ...]:
        return tuple(digest for _, digest in self.weights)

    def infer(self, *inputs: Signal) -> Signal:
        (request,) = inputs
        if (request.kind, request.clock, request.shape) != (Kind.BYTES, Clock.REQUEST, ()):
            raise UserError(f"{self.kind} takes one request as bytes, got {request}; see synfire.ops.language_model")
        return Signal((), Kind.BYTES, Clock.STEP)

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        raise UserError(f"{self.kind} has no steps of its own; an engine for {self.format} files runs it, whole")


def read_request(array: Array) -> Generation:
    """The only request of a batch of one. Raises `UserError` for a larger batch, and for what is no `Generation`."""
    if array.shape != (1,):
        raise UserError(f"a language model takes one request at a time, and {array.shape[0]} came; send one call each")
    try:
        return msgspec.json.decode(array[0], type=Generation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"that is no request to a language model: {error}; use /v1/chat/completions or /v1/completions"
        ) from error


def as_array(item: Generation | Piece, *axes: int) -> Array:
    """One request or piece as an array of shape `axes`, all 1."""
    array = np.empty(axes, object)
    array.fill(msgspec.json.encode(item))
    return array


def read_pieces(array: Array) -> list[Piece]:
    """The pieces of an array, whatever its axes."""
    return [msgspec.json.decode(each, type=Piece) for each in array.flat]


def resumed(wanted: Generation, pieces: Iterable[Piece]) -> Generation:
    """The request that goes on behind these `pieces` of the answer to `wanted`."""
    given: Sequence[Piece] = tuple(pieces)
    if not given:
        return wanted
    sent = wanted.sent
    more = Sent(
        sent.text + "".join(each.text for each in given),
        (*sent.tokens, *(token for each in given for token in each.tokens)),
        given[-1].count,
        max(each.prompt_count for each in given) or sent.prompt_count,
    )
    return msgspec.structs.replace(wanted, sent=more)
