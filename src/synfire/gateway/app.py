"""The gateway's application: every registered API over one data plane. Our own server calls it as it is, any other one by ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote

from synfire.base.log import LOGGER
from synfire.gateway.api import endpoints_of
from synfire.gateway.body import Gone, Incoming, read_body
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import HttpRequest, HttpResponse, Message, Receive, Router, Send, error_response
from synfire.gateway.patience import Patience
from synfire.gateway.status import is_ours

WATCH_S = 0.05
"""How long a call runs before the gateway looks whether its caller is still there."""


def build_app(plane: DataPlane) -> App:
    """The application that any ASGI server can run; `synfire.gateway.server` runs it with gRPC beside it."""
    return App(Router(endpoints_of(plane)), plane)


class App:
    """The application over a router: asks for a key, reads bodies within the limits, answers errors as `{"error": "text"}`."""

    def __init__(self, router: Router, plane: DataPlane) -> None:
        self._router = router
        self._plane = plane
        self._limits = plane.limits
        self._keys = plane.keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of a server that speaks ASGI."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the gateway does not speak {scope['type']}")
        method, path = scope["method"], scope["raw_path"].decode("latin-1")  # the raw one keeps %2F apart from a slash
        try:
            response = await self.answer(method, path, dict(scope["headers"]), _Received(receive))
        except Gone:
            return
        await self.send(response, method, receive, send)

    async def answer(self, method: str, path: str, headers: dict[bytes, bytes], incoming: Incoming) -> HttpResponse:
        """What is answered to a request, also to one that is refused; `path` is as it was sent, without the query. Raises `Gone`."""
        refuse: Callable[[BaseException], HttpResponse] = error_response
        try:
            endpoint, parameters = self._router.find(method, path)
            refuse = endpoint.refuse
            if self._keys and not endpoint.open:
                self._keys.check(headers.get(b"authorization", b"").decode("latin-1"))
            if endpoint.streams:
                response = await endpoint.handle(HttpRequest(parameters, headers, b"", incoming.receive))
            else:
                body = await read_body(headers, incoming, self._limits)
                with _Watch(incoming.receive, self._plane.patience):
                    response = await endpoint.handle(HttpRequest(parameters, headers, body))
        except Gone:
            raise
        except Exception as error:
            if is_ours(error):
                LOGGER.error("%s %s failed", method, unquote(path), exc_info=error)
            response = refuse(error)
        if self._plane.draining:
            response.headers.append((b"connection", b"close"))  # the next request finds another gateway
        return response

    async def send(self, response: HttpResponse, method: str, receive: Receive, send: Send) -> None:
        """Send an answer by ASGI's messages."""
        if response.chunks is None:
            await _send_whole(response, method, send)
        else:
            await _send_chunks(response, response.chunks, receive, _Patient(send, self._limits.body_timeout_s))


class _Received:
    """The body of a request that comes by ASGI's messages alone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def whole(self) -> bytes | None:
        return None

    async def receive(self) -> Message:
        return await self._receive()


class _Watch:
    """Cancels the block once its caller has gone. Looks from `WATCH_S` on only: most calls are answered by then."""

    def __init__(self, receive: Receive, patience: Patience) -> None:
        self._receive = receive
        self._patience = patience
        self._gone = False
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._patience.begin(self, WATCH_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._patience.end(self)
        if self._watching is not None:
            self._watching.cancel()
        if self._gone and kind is not None and self._task is not None:
            self._task.uncancel()
            raise Gone from error

    def overdue(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        await _until_gone(self._receive)
        self._gone = True
        if self._task is not None:
            self._task.cancel()


class _Patient:
    """Sends; gives up, by cutting the connection, on a caller who does not read. Its call would hold a place for ever."""

    def __init__(self, send: Send, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s

    async def __call__(self, message: Message) -> None:
        async with asyncio.timeout(self._timeout_s):
            await self._send(message)


def head_of(response: HttpResponse) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that is whole."""
    length = (b"content-length", b"%d" % len(response.body))
    return [(b"content-type", response.content_type.encode()), *response.headers, length]


async def _send_whole(response: HttpResponse, method: str, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": head_of(response)})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})


async def _send_chunks(response: HttpResponse, chunks: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send chunks until they end or the caller leaves; then close them, so that their call is cancelled."""
    sending = asyncio.ensure_future(_send_all(response, chunks, send))
    leaving = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not sending.done():
            sending.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(response: HttpResponse, chunks: Any, send: Send) -> None:
    headers = [(b"content-type", response.content_type.encode()), *response.headers]
    async with aclosing(chunks):
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
