"""Answers of language models over HTTP: whole, or as events while they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from synfire.base.log import LOGGER
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import HttpResponse, json_response
from synfire.gateway.language.calls import Numbered, pieces
from synfire.gateway.model import Model
from synfire.gateway.status import is_ours
from synfire.ops.language_model import Generation, Piece

EVENTS = "text/event-stream"


class Written(Protocol):
    """What writes an answer in the way of one protocol, piece by piece. What it gives is sent as it is; empty bytes are not."""

    model: str

    def add(self, number: int, piece: Piece) -> None:
        """A piece of one of the answers has come, which will be told whole."""

    def whole(self) -> msgspec.Struct:
        """The whole answer, once all its pieces were added."""

    def beginning(self) -> Iterable[bytes]:
        """What comes before any piece."""

    def event(self, number: int, piece: Piece) -> bytes:
        """What tells of a piece."""

    def ending(self) -> Iterable[bytes]:
        """What comes after the last piece."""

    def failed(self, error: Exception) -> bytes:
        """What ends an answer that failed on its way."""


async def answer(
    plane: DataPlane,
    model: Model,
    writer: Written,
    wanted: Sequence[Generation],
    stream: bool,
    content_type: str = EVENTS,
) -> HttpResponse:
    """The model's answer to a request; a stream is of that content type. What is refused before the first piece is raised, for a stream
    too."""
    given = pieces(plane, model, wanted)
    if stream:
        first = await anext(given)
        headers = [(b"cache-control", b"no-cache")]
        return HttpResponse(content_type=content_type, headers=headers, chunks=_events(writer, first, given))
    async with aclosing(given):
        async for number, piece in given:
            writer.add(number, piece)
    return json_response(writer.whole())


async def _events(
    writer: Written, first: Numbered, rest: AsyncGenerator[Numbered, None]
) -> AsyncGenerator[bytes, None]:
    try:
        yield b"".join(writer.beginning()) + writer.event(*first)
        async for number, piece in rest:
            if event := writer.event(number, piece):
                yield event
        yield b"".join(writer.ending())
    except Exception as error:
        if is_ours(error):
            LOGGER.error("a stream of model %s failed", writer.model, exc_info=error)
        yield writer.failed(error)
    finally:
        await rest.aclose()
