"""OpenAI's API for language models: models, chat completions and completions, whole and as streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane, Model
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.language.answers import DONE, ChatCompletion, Completion, Writer, event_of
from synfire.gateway.language.bodies import ChatBody, CompletionBody, Sampling, read_body
from synfire.gateway.language.calls import Numbered, pieces
from synfire.gateway.language.card import card_of, is_language, operator_of
from synfire.gateway.language.chat import prompt_of
from synfire.gateway.language.errors import OpenAIError, in_openai_shape, openai_error
from synfire.gateway.protocols.stream import EVENTS
from synfire.gateway.status import is_ours
from synfire.ops.language_model import Generation

_ANSWERS = (400, 404, 408, 413, 429, 501, 503, 504)


class LanguageModelInfo(msgspec.Struct, frozen=True):
    """A language model that is served. `max_model_len` is how many tokens a prompt and its answer may have together."""

    id: str
    max_model_len: int
    root: str
    created: int = 0
    object: str = "model"
    owned_by: str = "synfire"


class LanguageModels(msgspec.Struct, frozen=True):
    data: list[LanguageModelInfo]
    object: str = "list"


class OpenAI:
    """Translates requests into `Generation`s for the data plane, and the pieces of their answers back."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        one = partial(Endpoint, refuse=openai_error, error=OpenAIError)
        yield one("GET", "/v1/models", self.models, "Language models that are served", None, LanguageModels)
        yield one("GET", "/v1/models/{model}", self.model, "A language model", None, LanguageModelInfo, (400, 404))
        yield one(
            "POST",
            "/v1/chat/completions",
            self.chat,
            "Answer a chat",
            ChatBody,
            ChatCompletion,
            _ANSWERS,
            events=True,
        )
        yield one(
            "POST",
            "/v1/completions",
            self.completions,
            "Go on from a text",
            CompletionBody,
            Completion,
            _ANSWERS,
            events=True,
        )

    async def models(self, request: HttpRequest) -> HttpResponse:
        return json_response(LanguageModels([_info(model) for model in self._plane.models if is_language(model)]))

    async def model(self, request: HttpRequest) -> HttpResponse:
        model = self._plane.model(request.path["model"])
        card_of(model)
        return json_response(_info(model))

    async def chat(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, ChatBody)
        model = self._plane.model(body.model)
        more = {"add_generation_prompt": body.add_generation_prompt, **(body.chat_template_kwargs or {})}
        prompt = prompt_of(model.name, card_of(model), [each.plain() for each in body.messages], more)
        most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
        likeliest = body.likeliest()
        wanted = [body.generation(prompt, most, likeliest, choice) for choice in range(body.choices)]
        writer = Writer.of(body.model, True, len(wanted), len(wanted), likeliest is not None)
        return await self._answer(body, wanted, writer)

    async def completions(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, CompletionBody)
        card_of(self._plane.model(body.model))
        if body.echo:
            raise UserError("echo is not done by language models here yet; put the prompt before the answer yourself")
        wanted = [
            body.generation(prompt, body.max_tokens, body.logprobs, choice)
            for prompt in body.prompts()
            for choice in range(body.choices)
        ]
        writer = Writer.of(body.model, False, len(wanted), body.choices, body.logprobs is not None)
        return await self._answer(body, wanted, writer)

    async def _answer(self, body: Sampling, wanted: Sequence[Generation], writer: Writer) -> HttpResponse:
        given = pieces(self._plane, body.model, wanted)
        if body.stream:
            first = await anext(given)  # what is refused before it is an HTTP error, and no event
            headers = [(b"cache-control", b"no-cache")]
            return HttpResponse(content_type=EVENTS, headers=headers, chunks=_events(body, writer, first, given))
        async with aclosing(given):
            async for number, piece in given:
                writer.choices[number].add(piece)
        return json_response(writer.whole())


async def _events(
    body: Sampling, writer: Writer, first: Numbered, rest: AsyncGenerator[Numbered, None]
) -> AsyncGenerator[bytes, None]:
    try:
        for event in writer.beginning():
            yield event
        yield writer.event(*first)
        async for number, piece in rest:
            yield writer.event(number, piece)
        if body.usage_too:
            yield writer.used()
    except Exception as error:
        if is_ours(error):
            LOGGER.error("a stream of model %s failed", body.model, exc_info=error)
        yield event_of(in_openai_shape(error))
    finally:
        await rest.aclose()
    yield DONE


def _info(model: Model) -> LanguageModelInfo:
    return LanguageModelInfo(model.name, operator_of(model).context, card_of(model).name or model.name)


APIS.add("openai", Api(endpoints=lambda plane: OpenAI(plane).endpoints()))
