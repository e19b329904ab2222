"""OpenAI's Responses API for texts, functions and thoughts. Conversations are not stored: a caller sends its own, whole, each time.

What would be stored lay in one gateway's memory, and died with it; several gateways answer at one port. So `previous_response_id` and
what else needs a store are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, caller_of
from synfire.gateway.language.answering import answer
from synfire.gateway.language.asking import of_chat
from synfire.gateway.language.bodies import read_body
from synfire.gateway.language.card import card_of
from synfire.gateway.language.errors import OpenAIError, openai_error
from synfire.gateway.language.response_answers import Response
from synfire.gateway.language.response_bodies import ResponseBody
from synfire.gateway.language.response_writer import ResponseWriter
from synfire.gateway.language.thinking import thinking_of

_ANSWERS = (400, 404, 408, 413, 429, 501, 503, 504)


class Responses:
    """`/v1/responses`."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        yield Endpoint(
            "POST",
            "/v1/responses",
            self.respond,
            "Answer a conversation",
            ResponseBody,
            Response,
            _ANSWERS,
            events=True,
            refuse=partial(openai_error, prompt="input"),
            error=OpenAIError,
        )

    async def respond(self, request: HttpRequest) -> HttpResponse:
        body = read_body(request.body, ResponseBody)
        model = await self._plane.called(body.model, key=caller_of(request))
        wanted, calling = of_chat(model, body.chat())
        writer = ResponseWriter(body, calling, thinking_of(card_of(model), wanted))
        return await answer(self._plane, model, writer, wanted, bool(body.stream))


APIS.add("responses", Api(endpoints=lambda plane: Responses(plane).endpoints()))
