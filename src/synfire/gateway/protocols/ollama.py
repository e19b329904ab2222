"""Ollama's API, at `/api/…`, so that its clients work with a deployment as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from synfire import __version__
from synfire.base.errors import Overloaded, UnknownName, UserError
from synfire.base.keys import VARIABLE
from synfire.gateway.api import APIS, Api
from synfire.gateway.body import pieces_of
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, ErrorBody, HttpRequest, HttpResponse, caller_of, json_response
from synfire.gateway.language.answering import answer
from synfire.gateway.language.bodies import held
from synfire.gateway.language.card import Card, operator_of, speaking
from synfire.gateway.language.chat import prompt_of
from synfire.gateway.language.persona import completed
from synfire.gateway.language.texts import between
from synfire.gateway.language.thinking import SWITCH, Thinking, thinking_of, thinks
from synfire.gateway.language.tools import Offer
from synfire.gateway.language.vectors import embed, tokens_of
from synfire.gateway.model import Model
from synfire.gateway.ollama import about, making
from synfire.gateway.ollama.bodies import (
    Asked,
    ChatBody,
    CopyBody,
    CreateBody,
    EmbedBody,
    GenerateBody,
    ModelBody,
    generation,
    options_of,
    read,
    refuse_images,
)
from synfire.gateway.ollama.writers import LOADED, NDJSON, UNLOADED, Line, Writer
from synfire.gateway.status import error_text, extra_headers, http_status
from synfire.hub.garbage import references
from synfire.hub.pull import check_free
from synfire.ops.language_model import Generation, Prompt
from synfire.store import ModelName, ModelStore
from synfire.store.incoming import Incoming

_ANSWERS = (400, 404, 408, 413, 500, 503, 504)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_SHA256 = "sha256:"


class Version(msgspec.Struct, frozen=True):
    version: str


class Embedded(msgspec.Struct, frozen=True):
    """Vectors of length 1. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldEmbedded(msgspec.Struct, frozen=True):
    embedding: list[float]


def ollama_error(error: BaseException) -> HttpResponse:
    """The answer that tells the caller of `error`: in Ollama's shape, and with 503 where a queue is full."""
    status = 503 if isinstance(error, Overloaded) else http_status(error)
    return HttpResponse(msgspec.json.encode(ErrorBody(error_text(error))), status, headers=extra_headers(error))


class Ollama:
    """Translates for the data plane and the store."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        one = partial(Endpoint, refuse=ollama_error)
        yield one("GET", "/", self.root, "That somebody is there", None, "text/plain", open=True)
        yield one("GET", "/api/version", self.version, "The version", None, Version)
        yield one("GET", "/api/tags", self.tags, "Models that can be called", None, about.Tags)
        yield one("GET", "/api/ps", self.ps, "Models that are loaded", None, about.RunningList)
        yield one("POST", "/api/show", self.show, "A model in full", ModelBody, about.Shown, (400, 404))
        yield one("POST", "/api/generate", self.generate, "Go on from a prompt", GenerateBody, Line, _ANSWERS)
        yield one("POST", "/api/chat", self.chat, "Answer a chat", ChatBody, Line, _ANSWERS)
        yield one("POST", "/api/embed", self.embed, "Vectors of texts", EmbedBody, Embedded, _ANSWERS)
        yield one("POST", "/api/embeddings", self.embeddings, "A text's vector", EmbedBody, OldEmbedded, _ANSWERS)
        yield from self._of_store(one)

    def _of_store(self, one: Callable[..., Endpoint]) -> Iterable[Endpoint]:
        yield one("POST", "/api/copy", self.copy, "Give a model another name", CopyBody, None, (400, 404))
        yield one("DELETE", "/api/delete", self.delete, "Remove a model", ModelBody, None, (400, 404))
        for name, handle, takes in (
            ("pull", self.pull, ModelBody), ("push", self.push, ModelBody), ("create", self.create, CreateBody),
        ):  # fmt: skip
            yield one(
                "POST", f"/api/{name}", handle, f"{name.capitalize()} a model", takes, making.Progress, (400, 404)
            )
        blob = "/api/blobs/{digest}"
        yield one("GET", blob, self.has_blob, "Is a blob there?", None, None, (400, 404))
        yield one(
            "POST", blob, self.take_blob, "Keep a blob", "application/octet-stream", None, (400, 503), streams=True
        )

    async def root(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"Ollama is running", content_type="text/plain; charset=utf-8")

    async def version(self, request: HttpRequest) -> HttpResponse:
        return json_response(Version(__version__))

    async def tags(self, request: HttpRequest) -> HttpResponse:
        return json_response(await about.tags(self._plane))

    async def ps(self, request: HttpRequest) -> HttpResponse:
        return json_response(await about.running(self._plane))

    async def show(self, request: HttpRequest) -> HttpResponse:
        body = read(request.body, ModelBody)
        try:
            return json_response(await about.show(self._plane, body.called, body.verbose))
        except UnknownName as error:
            raise _not_found(body.called, error) from error

    async def generate(self, request: HttpRequest) -> HttpResponse:
        body, began_s = read(request.body, GenerateBody), time.monotonic()
        refuse_images(body.images)
        writer, model = await self._begun(request, body, began_s)
        if model is None:
            return json_response(writer.empty(UNLOADED))
        card = speaking(model)
        context = operator_of(model).context
        options = options_of(body.options, card.params, context)
        if not body.prompt and not body.suffix:
            return json_response(writer.empty(LOADED))
        prompt = _prompt(model.name, card, body)
        if not body.raw:
            writer.before = await self._tokens(model, prompt)
        wanted = held(generation(prompt, options, context), body.schema)
        writer.thinking = None if body.raw else _thinking(model.name, card, body, wanted)
        return await self._answer(body, writer, model, wanted)

    async def chat(self, request: HttpRequest) -> HttpResponse:
        body, began_s = read(request.body, ChatBody), time.monotonic()
        writer, model = await self._begun(request, body, began_s)
        if model is None:
            return json_response(writer.empty(UNLOADED))
        card = speaking(model)
        context = operator_of(model).context
        options = options_of(body.options, card.params, context)
        if not body.messages:
            return json_response(writer.empty(LOADED))
        offer = Offer(tuple(body.tools or ()))
        offer.check(body.schema)
        calling = offer.calling(model.name, card.template or card.chat_template or "")
        variables = {**offer.variables(), **({} if body.think is None else {SWITCH: bool(body.think)})}
        prompt = prompt_of(model.name, card, [each.plain() for each in body.messages], variables)
        shown = calling.shown if calling is not None else ()
        wanted = held(generation(prompt, options, context), body.schema, shown)
        if calling is not None:
            writer = Writer(body.model, True, began_s, calling)
        writer.thinking = _thinking(model.name, card, body, wanted)
        return await self._answer(body, writer, model, wanted)

    async def embed(self, request: HttpRequest) -> HttpResponse:
        body, began_s = read(request.body, EmbedBody), time.monotonic()
        texts = [body.input] if isinstance(body.input, str) else body.input
        loaded_s, found = await self._embedded(request, body, texts)
        vectors = [[float(each) for each in one.vector] for one in found]
        total, load = (round(1e9 * (each - began_s)) for each in (time.monotonic(), loaded_s))
        return json_response(Embedded(body.model, vectors, total, load, sum(each.tokens for each in found)))

    async def embeddings(self, request: HttpRequest) -> HttpResponse:
        body = read(request.body, EmbedBody)
        _, found = await self._embedded(request, body, [body.prompt])
        return json_response(OldEmbedded([float(each) for each in found[0].vector]))

    async def copy(self, request: HttpRequest) -> HttpResponse:
        body = read(request.body, CopyBody)
        store = self._writable(request)
        source, to = ModelName.parse(body.source), ModelName.parse(body.destination)
        check_free(to)
        await asyncio.to_thread(store.copy, source, to)
        return HttpResponse()

    async def delete(self, request: HttpRequest) -> HttpResponse:
        store, name = self._writable(request), read(request.body, ModelBody).called
        spoken = ModelName.parse(name)
        if spoken.short in {model.name for model in self._plane.models}:
            raise UserError(f"{name} is loaded; unload it first, with keep_alive 0 or synfire stop {name}")
        try:
            await asyncio.to_thread(store.remove, spoken, references)
        except UnknownName as error:
            raise _not_found(name, error) from error
        return HttpResponse()

    async def pull(self, request: HttpRequest) -> HttpResponse:
        store, body = self._writable(request), read(request.body, ModelBody)
        return await _telling(body, making.pulling(body.called, store), "pulling manifest")

    async def push(self, request: HttpRequest) -> HttpResponse:
        store, body = self._writable(request), read(request.body, ModelBody)
        return await _telling(body, making.pushing(body.called, store), "retrieving manifest")

    async def create(self, request: HttpRequest) -> HttpResponse:
        store, body = self._writable(request), read(request.body, CreateBody)
        return await _telling(body, making.making(body, store), "reading model metadata")

    async def has_blob(self, request: HttpRequest) -> HttpResponse:
        digest = request.path["digest"].removeprefix(_SHA256)
        if digest not in self._store.blobs:
            raise UnknownName(f"there is no blob {request.path['digest']}; send it")
        return HttpResponse()

    async def take_blob(self, request: HttpRequest) -> HttpResponse:
        store, digest = self._writable(request), request.path["digest"].removeprefix(_SHA256)
        store.blobs.path(digest)  # a digest that is none is told before its bytes come
        if digest not in store.blobs:
            await _keep(store, digest, pieces_of(request))
        return HttpResponse(status=201)

    async def _begun(
        self, request: HttpRequest, body: GenerateBody | ChatBody, began_s: float
    ) -> tuple[Writer, Model | None]:
        """The writer of the answer, and the model, which is there now; None where it was only to be unloaded, which is begun."""
        chat = isinstance(body, ChatBody)
        silent = not body.messages if isinstance(body, ChatBody) else not body.prompt
        keep_s = body.keep_s
        unloads = silent and keep_s == 0
        try:
            model = (
                self._plane.model(body.model)
                if unloads
                else await self._plane.called(body.model, key=caller_of(request))
            )
        except UnknownName as error:
            if unloads and self._plane.on_demand is not None:
                await self._plane.on_demand.find(body.model)  # one of the store that is not loaded is unloaded
                return Writer(body.model, chat, began_s), None
            raise _not_found(body.model, error) from error
        self._plane.keep(model, keep_s)
        return Writer(body.model, chat, began_s), None if unloads else model

    async def _answer(self, body: Asked, writer: Writer, model: Model, wanted: Generation) -> HttpResponse:
        return await answer(self._plane, model, writer, [wanted], body.stream, NDJSON)

    async def _tokens(self, model: Model, prompt: Prompt) -> tuple[int, ...]:
        """The prompt as tokens by their numbers."""
        if isinstance(prompt, str):
            return (await tokens_of(self._plane, model, prompt)).numbers
        texts = [
            each if isinstance(each, int) else (await tokens_of(self._plane, model, each, False)).numbers
            for each in prompt
        ]
        return tuple(number for each in texts for number in ([each] if isinstance(each, int) else each))

    async def _embedded(self, request: HttpRequest, body: EmbedBody, texts: list[str]) -> tuple[float, Any]:
        """When the model was there, and the vectors of the texts."""
        try:
            model = await self._plane.called(body.model, key=caller_of(request))
        except UnknownName as error:
            raise _not_found(body.model, error) from error
        keep_s = None if body.keep_alive is None else Asked(model=body.model, keep_alive=body.keep_alive).keep_s
        self._plane.keep(model, keep_s)
        loaded_s = time.monotonic()
        if not texts:
            return loaded_s, []
        return loaded_s, await embed(self._plane, model, texts, "END" if body.truncate else "NONE")

    @property
    def _store(self) -> ModelStore:
        return self._plane.on_demand.store if self._plane.on_demand is not None else ModelStore()

    def _writable(self, request: HttpRequest) -> ModelStore:
        """The store, for who may change it: who has shown a key, or else who calls from this machine, and is no page in a browser.

        Raises `UserError` for anybody else.
        """
        if self._plane.keys:
            return self._store
        origin = request.header("origin")
        foreign = origin is not None and urlsplit(origin).hostname not in _LOCAL
        named = urlsplit(f"//{request.header('host') or 'localhost'}").hostname
        if not self._plane.local or foreign or named not in _LOCAL:
            raise UserError(
                f"this deployment changes no models for everybody who may call it; start it with {VARIABLE} set, and show that key, or "
                "call it from its own machine"
            )
        return self._store


def _prompt(model: str, card: Card, body: GenerateBody) -> Prompt:
    """What the model goes on from. Raises `UserError`."""
    before = tuple(body.context)
    if body.raw:
        return (*before, body.prompt) if before else body.prompt
    template = body.template if body.template else card.template
    system = card.system or "" if body.system is None else body.system
    if template:
        text: Prompt = completed(template, body.prompt, system, body.suffix)
    elif body.suffix:
        text = between(model, card, body.prompt, body.suffix)
    elif card.chat_template:
        said = [{"role": "system", "content": system}] if system else []
        plain = msgspec.structs.replace(card, system=None, messages=())
        text = prompt_of(model, plain, [*said, {"role": "user", "content": body.prompt}], {})
    else:
        text = f"{system}\n\n{body.prompt}" if system else body.prompt
    return (*before, *([text] if isinstance(text, str) else text)) if before else text


def _thinking(model: str, card: Card, body: Asked, wanted: Generation) -> Thinking | None:
    """What tells thoughts apart, unless that is not wanted. Raises `UserError` where a model is to think that was not trained to."""
    if body.think and not thinks(card):
        raise UserError(f"{model!r} does not support thinking: its template has no place for that; leave think out")
    apart = thinking_of(card, [wanted]) if body.think is not False else None
    return apart() if apart is not None else None


async def _telling(body: ModelBody, work: Callable[[making.Telling], None], begins: str) -> HttpResponse:
    """Progress line by line; or its end alone, where no stream is wanted."""
    progress = making.told(work, begins)
    if body.stream:
        return HttpResponse(content_type=NDJSON, chunks=making.lines(progress))
    last = making.Progress(begins)
    async for each in progress:
        last = each
    return json_response(last)


async def _keep(store: ModelStore, digest: str, content: AsyncIterator[bytes]) -> None:
    """Keep a blob as it comes. Raises `UserError` where it is another one."""
    incoming = Incoming(store.blobs, digest)
    await asyncio.to_thread(incoming.__enter__)  # it waits for another one that writes the same
    try:
        incoming.restart()
        async for piece in content:
            await asyncio.to_thread(incoming.write, piece)
        await asyncio.to_thread(incoming.finish, digest)
    finally:
        incoming.__exit__()


def _not_found(name: str, error: UnknownName) -> UnknownName:
    """In the words that Ollama's clients look for."""
    return UnknownName(f"model {name!r} not found, try pulling it first ({error})")


APIS.add("ollama", Api(endpoints=lambda plane: Ollama(plane).endpoints()))
