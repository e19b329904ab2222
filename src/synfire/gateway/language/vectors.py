"""Vectors of texts, and how well passages answer a question: each text is a call of its own, some of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from synfire.gateway.dataplane import DataPlane
from synfire.gateway.language.calls import single
from synfire.gateway.language.card import card_of, comparing
from synfire.gateway.model import Model
from synfire.ops import Array
from synfire.ops.language_model import Generation, Piece, Prompt

Truncate = Literal["NONE", "START", "END"]
"""What becomes of a text beyond the context: it is refused, or its start or its end is left out."""

AT_A_TIME = 16

_T = TypeVar("_T")


class Embedded(NamedTuple):
    """A text's vector, of length 1, and how many tokens the text has."""

    vector: Array
    tokens: int


class Ranked(NamedTuple):
    """How well passages answer, in their order: the greater the better; and how many tokens were read."""

    relevances: Sequence[float]
    tokens: int


class Tokenized(NamedTuple):
    """The tokens of a text: their numbers, and the text of each."""

    numbers: tuple[int, ...]
    texts: list[str]


async def embed(
    plane: DataPlane, model: Model, prompts: Sequence[Prompt], truncate: Truncate = "NONE"
) -> list[Embedded]:
    """The vectors of texts. Raises `UserError` for a model that gives none, and `ContextExceeded` for a text that is too long."""
    comparing(model)

    async def one(prompt: Prompt) -> Embedded:
        cut = await _cut(plane, model, prompt, truncate)
        piece = await single(plane, model, Generation(cut, task="embed"))
        return Embedded(np.frombuffer(piece.vector, "<f4"), piece.prompt_count)

    return await together(one(prompt) for prompt in prompts)


async def rank(
    plane: DataPlane, model: Model, query: str, passages: Sequence[str], truncate: Truncate = "NONE"
) -> Ranked:
    """How well passages answer the query: as a model for that says; else the cosine of their vectors. Raises as `embed` does."""
    if comparing(model, ranks=True).pooling != "rank":
        asked, *found = await embed(plane, model, [query, *passages], truncate)
        return Ranked(
            [float(asked.vector @ each.vector) for each in found], asked.tokens + sum(each.tokens for each in found)
        )

    async def one(passage: str) -> Piece:
        return await single(plane, model, Generation(query, task="rank", passage=passage))

    pieces = await together(one(passage) for passage in passages)
    return Ranked([piece.relevance for piece in pieces], sum(piece.prompt_count for piece in pieces))


async def tokens_of(plane: DataPlane, model: Model, prompt: str, special: bool = True) -> Tokenized:
    """The tokens of a text, and the text of each. It is counted as no call of a name: it may only serve one."""
    piece = await single(plane, replace(model, side=None), Generation(prompt, task="tokenize", special=special))
    numbers = tuple(token for token in piece.tokens if isinstance(token, int))
    return Tokenized(numbers, [each.token for each in piece.scores])


async def together(calls: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results of all calls, `AT_A_TIME` of them under way. Raises the first error, and cancels the rest."""
    room = asyncio.Semaphore(AT_A_TIME)

    async def within(call: Coroutine[Any, Any, _T]) -> _T:
        async with room:
            return await call

    tasks = [asyncio.create_task(within(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _cut(plane: DataPlane, model: Model, prompt: Prompt, truncate: Truncate) -> Prompt:
    """The prompt, as long as the model reads at most."""
    most = comparing(model).context
    if truncate == "NONE":
        return prompt
    tokens = (await tokens_of(plane, model, prompt)).numbers if isinstance(prompt, str) else prompt
    if len(tokens) <= most:
        return prompt
    if truncate == "END":
        return tokens[:most]
    kept = 1 if card_of(model).adds_bos else 0
    return (*tokens[:kept], *tokens[kept - most :])
