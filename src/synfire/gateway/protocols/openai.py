"""OpenAI's API for language models: models, chat completions and completions, whole and as streams."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from synfire.formats.gguf_model import MOST_CONTEXT
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, caller_of, json_response
from synfire.gateway.language.answering import answer
from synfire.gateway.language.answers import ChatCompletion, Completion
from synfire.gateway.language.asking import of_chat, of_text
from synfire.gateway.language.bodies import ChatBody, CompletionBody, read_body
from synfire.gateway.language.card import card_of, is_language, operator_of
from synfire.gateway.language.errors import OpenAIError, openai_error
from synfire.gateway.language.stored import Listed, stored_models
from synfire.gateway.language.texts import echoes
from synfire.gateway.language.thinking import thinking_of
from synfire.gateway.language.writers import ChatWriter, TextWriter, Told
from synfire.gateway.model import Model
from synfire.store.names import LATEST

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
            refuse=partial(openai_error, prompt="prompt"),
        )

    async def models(self, request: HttpRequest) -> HttpResponse:
        return json_response(LanguageModels(await self._models()))

    async def model(self, request: HttpRequest) -> HttpResponse:
        name = request.path["model"]
        stored = [each for each in await self._models() if each.id == name.removesuffix(f":{LATEST}")]
        if stored:
            return json_response(stored[0])
        model = self._plane.model(name)
        card_of(model)
        return json_response(_info(model, name))

    async def _models(self) -> list[LanguageModelInfo]:
        """Those that are served, and those of the store that would be."""
        named = [*((model.name, model) for model in self._plane.models), *self._plane.ruled]
        here = [_info(model, name) for name, model in named if is_language(model)]
        known = {each.id for each in here}
        return here + [_of_store(each) for each in await stored_models(self._plane.on_demand) if each.name not in known]

    async def chat(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, ChatBody)
        model = await self._plane.called(body.model, key=caller_of(request))
        wanted, calling = of_chat(model, body)
        told, thinking = Told(body.likeliest() is not None, body.usage_too), thinking_of(card_of(model), wanted)
        writer = ChatWriter(body.model, len(wanted), told, calling, thinking)
        return await answer(self._plane, model, writer, wanted, bool(body.stream))

    async def completions(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, CompletionBody)
        model = await self._plane.called(body.model, key=caller_of(request))
        wanted, _ = of_text(model, body)
        said = await echoes(self._plane, model, body, body.prompts()) if body.echo else ()
        told = Told(body.logprobs is not None, body.usage_too)
        writer = TextWriter(body.model, len(wanted), body.choices, told, said)
        return await answer(self._plane, model, writer, wanted, bool(body.stream))


def _info(model: Model, name: str) -> LanguageModelInfo:
    return LanguageModelInfo(name, operator_of(model).context, card_of(model).name or model.name)


def _of_store(listed: Listed) -> LanguageModelInfo:
    context = min(listed.described.context_length or MOST_CONTEXT, MOST_CONTEXT)
    return LanguageModelInfo(listed.name, context, listed.name, int(listed.added_s))


APIS.add("openai", Api(endpoints=lambda plane: OpenAI(plane).endpoints()))
