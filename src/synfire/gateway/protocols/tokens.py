"""Tokens of texts and texts of tokens, as vLLM tells them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from synfire.base.errors import UserError
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.language.bodies import Token, read_body
from synfire.gateway.language.calls import single
from synfire.gateway.language.card import card_of, operator_of
from synfire.gateway.language.chat import prompt_of
from synfire.gateway.language.errors import OpenAIError, openai_error
from synfire.gateway.language.messages import ChatMessage
from synfire.gateway.language.vectors import tokens_of
from synfire.ops.language_model import Generation

_ANSWERS = (400, 404, 408, 413, 429, 501, 503, 504)


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /tokenize`: a text, or the messages of a chat. `return_token_strs` asks for the text of each token, too."""

    model: str
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class Tokenized(msgspec.Struct, frozen=True):
    count: int
    max_model_len: int
    tokens: tuple[int, ...]
    token_strs: list[str] | None = None


class DetokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /detokenize`."""

    model: str
    tokens: Annotated[tuple[Token, ...], Meta(min_length=1)]


class Detokenized(msgspec.Struct, frozen=True):
    prompt: str


class Tokens:
    """`/tokenize` and `/detokenize`."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        one = partial(Endpoint, "POST", fails=_ANSWERS, refuse=openai_error, error=OpenAIError)
        yield one("/tokenize", self.tokenize, "The tokens of a text or a chat", TokenizeBody, Tokenized)
        yield one("/detokenize", self.detokenize, "The text of tokens", DetokenizeBody, Detokenized)

    async def tokenize(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, TokenizeBody)
        model = await self._plane.called(body.model)
        text = _text(model.name, body)
        if body.messages is not None:
            more = {"add_generation_prompt": body.add_generation_prompt}
            text = prompt_of(model.name, card_of(model), [each.plain() for each in body.messages], more)
        card_of(model)
        numbers, texts = await tokens_of(self._plane, model, text, body.add_special_tokens)
        context = operator_of(model).context
        return json_response(Tokenized(len(numbers), context, numbers, texts if body.return_token_strs else None))

    async def detokenize(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, DetokenizeBody)
        model = await self._plane.called(body.model)
        card_of(model)
        piece = await single(self._plane, model, Generation(body.tokens, task="detokenize"))
        return json_response(Detokenized(piece.text))


def _text(model: str, body: TokenizeBody) -> str:
    if (body.prompt is None) == (body.messages is None):
        raise UserError(f"tokenize takes a prompt or messages for model {model!r}, one of the two; send one")
    return body.prompt or ""


APIS.add("tokens", Api(endpoints=lambda plane: Tokens(plane).endpoints()))
