"""Vectors of texts as OpenAI's API has them, and passages ranked as NIM does."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from synfire.base.errors import UserError
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, caller_of, json_response
from synfire.gateway.language.bodies import MOST_TEXTS, read_body, texts_of
from synfire.gateway.language.errors import OpenAIError, openai_error
from synfire.gateway.language.vectors import Truncate, embed, rank
from synfire.ops import Array

_ANSWERS = (400, 404, 408, 413, 429, 501, 503, 504)


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/embeddings`. `input_type` and `truncate` are NIM's: models here read a question as they read a passage, since their
    files tell of no difference."""

    model: str
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    input_type: Literal["query", "passage"] | None = None
    truncate: Truncate = "NONE"


class Embedding(msgspec.Struct, frozen=True):
    """A vector of length 1: numbers, or these as float32, little endian, in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct, frozen=True):
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: str = "list"


class Text(msgspec.Struct, frozen=True):
    text: str


class RankingBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/ranking`."""

    model: str
    query: Text
    passages: Annotated[list[Text], Meta(min_length=1, max_length=MOST_TEXTS)]
    truncate: Truncate = "NONE"


class Ranking(msgspec.Struct, frozen=True):
    """How well the passage at `index` answers, the greater the better: what a model for ranking says, or the cosine of two vectors."""

    index: int
    logit: float


class Rankings(msgspec.Struct, frozen=True):
    """Passages, the best first."""

    rankings: list[Ranking]
    usage: EmbeddingUsage


class Vectors:
    """`/v1/embeddings` and `/v1/ranking`."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        one = partial(Endpoint, "POST", fails=_ANSWERS, error=OpenAIError)
        told = partial(openai_error, prompt="input")
        yield one("/v1/embeddings", self.embeddings, "Vectors of texts", EmbeddingBody, Embeddings, refuse=told)
        told = partial(openai_error, prompt="passages")
        yield one(
            "/v1/ranking", self.ranking, "Passages, ranked by how well they answer", RankingBody, Rankings, refuse=told
        )

    async def embeddings(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, EmbeddingBody)
        model = await self._plane.called(body.model, key=caller_of(request))
        found = await embed(self._plane, model, texts_of("input", body.input, MOST_TEXTS), body.truncate)
        _check_dimensions(body, len(found[0].vector))
        data = [Embedding(n, _encoded(each.vector, body.encoding_format)) for n, each in enumerate(found)]
        return json_response(Embeddings(data, body.model, _usage(sum(each.tokens for each in found))))

    async def ranking(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, RankingBody)
        model = await self._plane.called(body.model, key=caller_of(request))
        found = await rank(self._plane, model, body.query.text, [each.text for each in body.passages], body.truncate)
        order = sorted(range(len(found.relevances)), key=lambda place: -found.relevances[place])
        rankings = [Ranking(place, found.relevances[place]) for place in order]
        return json_response(Rankings(rankings, _usage(found.tokens)))


def _check_dimensions(body: EmbeddingBody, size: int) -> None:
    if body.dimensions not in (None, size):
        raise UserError(
            f"dimensions is {body.dimensions}, and vectors of model {body.model!r} have {size}: a part of one means nothing unless the "
            "model was trained for that; leave dimensions out"
        )


def _encoded(vector: Array, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return [float(each) for each in vector]


def _usage(tokens: int) -> EmbeddingUsage:
    return EmbeddingUsage(tokens, tokens)


APIS.add("vectors", Api(endpoints=lambda plane: Vectors(plane).endpoints()))
