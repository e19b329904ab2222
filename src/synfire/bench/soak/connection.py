"""One HTTP connection of a caller who counts what nobody asked for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast

import httptools


class Broken(ConnectionError):
    """Raised when the connection ends before the answer has."""


@dataclass
class Reply:
    """An answer as it came."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class Connection(asyncio.Protocol):
    """Keep-alive, one request at a time. `surplus` counts answers, begun or whole, that no request waits for."""

    def __init__(self) -> None:
        self.opened_s = time.monotonic()
        self.surplus = 0
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._waiting: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self._lost: str | None = None

    @property
    def closed(self) -> bool:
        """Whether either side has ended it."""
        return self._lost is not None

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Raises `OSError` when nobody listens there."""
        _, protocol = await asyncio.get_running_loop().create_connection(cls, host, port)
        return protocol

    async def ask(self, request: bytes) -> Reply:
        """Send a request and wait for its whole answer. Raises `Broken` when the connection ends before."""
        if self._lost is not None or self._transport is None:
            raise Broken(self._lost or "the connection is not open")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Leave, also in the middle of an answer."""
        self._waiting, self._lost = None, self._lost or "the caller closed the connection"
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"what came is no HTTP: {error!r}")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the gateway closed the connection: {error or 'without an error'}")

    def on_message_begin(self) -> None:
        self._reply = Reply()
        if self._waiting is None or self._waiting.done():
            self.surplus += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._reply.body += data

    def on_message_complete(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._reply)

    def _end(self, why: str) -> None:
        self._lost = self._lost or why
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Broken(why))


def server_events(body: bytes) -> list[tuple[str, bytes]]:
    """Server-sent events: the name and the data of each."""
    found = []
    for event in body.split(b"\n\n")[:-1]:
        fields: dict[bytes, Any] = dict(line.split(b": ", 1) for line in event.split(b"\n"))
        found.append((fields[b"event"].decode(), fields[b"data"]))
    return found
