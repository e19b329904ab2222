"""The gateway's ASGI application: every registered API over one data plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from synfire.base.log import LOGGER
from synfire.gateway.api import endpoints_of
from synfire.gateway.body import Gone, read_body
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import HttpRequest, HttpResponse, Message, Receive, Router, Send, error_response
from synfire.gateway.status import is_ours

WHOLE = "synfire.whole"
"""The ASGI extension of our own server: a function that writes a whole answer at once, and says whether it could."""

WATCH_S = 0.05
"""How long a call runs before the gateway looks whether its caller is still there."""


def build_app(plane: DataPlane) -> App:
    """The application that any ASGI server can run; `synfire.gateway.server` runs it with gRPC beside it."""
    return App(Router(endpoints_of(plane)), plane)


class App:
    """The ASGI application over a router: asks for a key, reads bodies within the limits, answers errors as `{"error": "text"}`."""

    def __init__(self, router: Router, plane: DataPlane) -> None:
        self._router = router
        self._plane = plane
        self._limits = plane.limits
        self._keys = plane.keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"the gateway does not speak {scope['type']}")
        try:
            response = await self._answer(scope, receive)
        except Gone:
            return
        if self._plane.draining:
            response.headers.append((b"connection", b"close"))  # the next request finds another gateway
        if response.chunks is None:
            await _send_whole(response, scope, send)
        else:
            await _send_chunks(response, response.chunks, receive, _Patient(send, self._limits.body_timeout_s))

    async def _answer(self, scope: Message, receive: Receive) -> HttpResponse:
        refuse: Callable[[BaseException], HttpResponse] = error_response
        try:
            # The raw path keeps %2F apart from a slash.
            endpoint, parameters = self._router.find(scope["method"], scope["raw_path"].decode("latin-1"))
            headers, refuse = dict(scope["headers"]), endpoint.refuse
            if self._keys and not endpoint.open:
                self._keys.check(headers.get(b"authorization", b"").decode("latin-1"))
            if endpoint.streams:
                return await endpoint.handle(HttpRequest(parameters, headers, b"", receive))
            body = await read_body(headers, receive, self._limits)
            with _Watch(receive):
                return await endpoint.handle(HttpRequest(parameters, headers, body))
        except Gone:
            raise
        except Exception as error:
            if is_ours(error):
                LOGGER.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            return refuse(error)


class _Watch:
    """Cancels the block once its caller has gone. Looks from `WATCH_S` on only: most calls are answered by then."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(WATCH_S, self._begin)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._gone and kind is not None and self._task is not None:
            self._task.uncancel()
            raise Gone from error

    def _begin(self) -> None:
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


async def _send_whole(response: HttpResponse, scope: Message, send: Send) -> None:
    start = _start(response)
    start["headers"].append((b"content-length", b"%d" % len(response.body)))
    head_only, whole = scope["method"] == "HEAD", scope.get("extensions", {}).get(WHOLE)
    if whole is not None and not head_only and whole(response.status, start["headers"], response.body):
        return
    await send(start)
    await send({"type": "http.response.body", "body": b"" if head_only else response.body})


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
    async with aclosing(chunks):
        await send(_start(response))
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(response: HttpResponse) -> Message:
    headers = [(b"content-type", response.content_type.encode()), *response.headers]
    return {"type": "http.response.start", "status": response.status, "headers": headers}
