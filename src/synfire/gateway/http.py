"""The least that is needed of HTTP: endpoints as data, requests, responses, and a router over ASGI.

A framework would cost as much again as all the rest of a small request (measured: 30 µs for a bare ASGI echo of 12 KB,
49 µs through starlette), and the OpenAPI document is made from the same table of endpoints.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.gateway.limits import Limits
from synfire.gateway.status import (
    OK,
    SlowBody,
    TooLarge,
    WrongMethod,
    error_text,
    extra_headers,
    http_status,
    is_ours,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = "application/json"

WATCH_S = 0.05
"""How long a call runs before the gateway looks whether its caller is still there."""


class ErrorBody(msgspec.Struct):
    """The body of every 4xx and 5xx answer."""

    error: str


@dataclass(frozen=True)
class HttpRequest:
    """One request: its path's parameters, its headers in lower case, and its body, read."""

    path: dict[str, str]
    headers: dict[bytes, bytes]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's value; None when it was not sent."""
        value = self.headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    def json(self, wanted: type[Any]) -> Any:
        """The body as a msgspec type; an empty body reads as `{}`. Raises `UserError` where it does not fit."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"the body is not what this endpoint takes: {error}; /openapi.json shows it") from error


@dataclass(frozen=True)
class HttpResponse:
    """One response, whole; or, with `chunks`, sent as it is made."""

    body: bytes = b""
    status: int = OK
    content_type: str = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: AsyncIterator[bytes] | None = None


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, and what the OpenAPI document says of it.

    `path` holds parameters in braces. `takes` and `gives` are the JSON bodies' types, None for none; `gives` may be a
    content type instead. `fails` are the statuses besides 200 that a correct client may meet.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    takes: Any = None
    gives: Any = None
    fails: tuple[int, ...] = ()
    binary: bool = False


def json_response(value: object, status: int = OK) -> HttpResponse:
    """`value` as a JSON body."""
    return HttpResponse(msgspec.json.encode(value), status)


def error_response(error: BaseException) -> HttpResponse:
    """The answer that tells the caller of `error`."""
    body = msgspec.json.encode(ErrorBody(error_text(error)))
    return HttpResponse(body, http_status(error), headers=extra_headers(error))


class Router:
    """Finds the endpoint of a method and a path: a look-up for fixed paths, patterns in order for the others."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._fixed: dict[str, dict[str, Endpoint]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Endpoint]]] = {}
        for each in self.endpoints:
            if "{" not in each.path:
                self._fixed.setdefault(each.path, {})[each.method] = each
            else:
                pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", each.path))
                self._patterns.setdefault(each.path, (pattern, {}))[1][each.method] = each

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint and its path's parameters. Raises `UnknownName` or `WrongMethod`."""
        methods, parameters = self._methods(path)
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            raise WrongMethod(method, path, tuple(methods))
        return endpoint, parameters

    def _methods(self, path: str) -> tuple[dict[str, Endpoint], dict[str, str]]:
        if path in self._fixed:
            return self._fixed[path], {}
        for pattern, methods in self._patterns.values():
            found = pattern.fullmatch(path)
            if found:
                return methods, {name: unquote(value) for name, value in found.groupdict().items()}
        raise UnknownName(f"nothing is served at {path}; GET /openapi.json lists every path")


class App:
    """The ASGI application over a router: reads bodies within the limits, answers every error as `{"error": "text"}`."""

    def __init__(self, router: Router, limits: Limits) -> None:
        self._router = router
        self._limits = limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"the gateway does not speak {scope['type']}")
        try:
            response = await self._answer(scope, receive)
        except _Gone:
            return
        if response.chunks is None:
            await _send_whole(response, send, scope["method"] == "HEAD")
        else:
            await _send_chunks(response, response.chunks, receive, send)

    async def _answer(self, scope: Message, receive: Receive) -> HttpResponse:
        try:
            # The raw path keeps %2F apart from a slash.
            endpoint, parameters = self._router.find(scope["method"], scope["raw_path"].decode("latin-1"))
            headers = dict(scope["headers"])
            body = await read_body(headers, receive, self._limits)
            with _Watch(receive):
                return await endpoint.handle(HttpRequest(parameters, headers, body))
        except _Gone:
            raise
        except Exception as error:
            if is_ours(error):
                LOGGER.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            return error_response(error)


class _Gone(Exception):
    """The caller went away: there is nobody to answer."""


class _Watch:
    """Cancels the block once its caller has gone. Looks from `WATCH_S` on only: most calls are answered by then."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(WATCH_S, self._begin)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
            raise _Gone from error

    def _begin(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        await _until_gone(self._receive)
        self._gone = True
        if self._task is not None:
            self._task.cancel()


async def read_body(headers: dict[bytes, bytes], receive: Receive, limits: Limits) -> bytes:
    """The body, decompressed. Raises `TooLarge` before it holds more than the limit, `SlowBody` when it lingers."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limits.body_bytes:
        raise _too_large(limits)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_more(body, receive, limits)
    elif message["type"] == "http.disconnect":
        raise _Gone
    encoding = headers.get(b"content-encoding", b"identity")
    return body if encoding == b"identity" else _decompress(body, encoding.decode("latin-1"), limits)


async def _read_more(first: bytes, receive: Receive, limits: Limits) -> bytes:
    chunks, size, more = [first], len(first), True
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while more and size <= limits.body_bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise SlowBody(
            f"{size} bytes of the body came within {limits.body_timeout_s:g} s (limit body_timeout_s), then no end; check "
            "Content-Length against what was sent"
        ) from error
    if size > limits.body_bytes:
        raise _too_large(limits)
    return b"".join(chunks)


def _decompress(body: bytes, encoding: str, limits: Limits) -> bytes:
    window = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}.get(encoding.strip().lower())
    if window is None:
        raise UserError(f"Content-Encoding {encoding!r} is not known; use gzip, deflate, or none")
    reader = zlib.decompressobj(window)
    try:
        plain = reader.decompress(body, limits.body_bytes + 1)
    except zlib.error as error:
        raise UserError(f"the body is not valid {encoding}: {error}; send it again, or without compression") from error
    if len(plain) > limits.body_bytes:
        raise _too_large(limits)
    if not reader.eof:
        raise UserError(f"the {encoding} body ends too early; was it cut off?")
    return plain


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(
        f"the body is longer than {limits.body_bytes} bytes, the limit body_bytes; send fewer samples a call"
    )


async def _send_whole(response: HttpResponse, send: Send, head_only: bool) -> None:
    start = _start(response)
    start["headers"].append((b"content-length", str(len(response.body)).encode()))
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
