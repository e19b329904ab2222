"""The least that is needed of HTTP: endpoints as data, requests, responses, and a router over ASGI.

A framework would cost as much again as all the rest of a small request (measured: 30 µs for a bare ASGI echo of 12 KB,
49 µs through starlette), and the OpenAPI document is made from the same table of endpoints.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.gateway.status import (
    OK,
    WrongMethod,
    error_text,
    extra_headers,
    http_status,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = "application/json"

CALLER = "Synfire-Caller"
"""HTTP header, and gRPC metadata in lower case: where a name is answered by several models, calls with the same value go to the same
one."""


class ErrorBody(msgspec.Struct):
    """The body of every 4xx and 5xx answer."""

    error: str


class HttpRequest(msgspec.Struct, frozen=True):
    """One request: its path's parameters, its headers in lower case, and its body, read; or, at an endpoint that takes it as it comes, what
    it can be received from."""

    path: dict[str, str]
    headers: dict[bytes, bytes]
    body: bytes
    receive: Receive | None = None

    def header(self, name: str) -> str | None:
        """A header's value; None when it was not sent."""
        value = self.headers.get(_as_sent(name))
        return None if value is None else value.decode("latin-1")

    def json(self, wanted: type[Any]) -> Any:
        """The body as a msgspec type; an empty body reads as `{}`. Raises `UserError` where it does not fit."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"the body is not what this endpoint takes: {error}; /openapi.json shows it") from error


class HttpResponse(msgspec.Struct, frozen=True):
    """One response, whole; or, with `chunks`, sent as it is made."""

    body: bytes = b""
    status: int = OK
    content_type: str = JSON
    headers: list[tuple[bytes, bytes]] = []
    chunks: AsyncIterator[bytes] | None = None


@cache
def _as_sent(name: str) -> bytes:
    """A header's name as requests hold it. All that ask for one name it in the code: there are few."""
    return name.lower().encode()


def caller_of(request: HttpRequest) -> str:
    """Who calls, where that is said."""
    return request.header(CALLER) or ""


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, and what the OpenAPI document says of it.

    `path` holds parameters in braces. `takes` and `gives` are the JSON bodies' types, None for none; `gives` may be a
    content type instead. `fails` are the statuses besides 200 that a correct client may meet. `binary` says that both
    bodies may also be raw tensors, `events` that the answer may also be a stream of server-sent events. An `open` endpoint answers
    callers without a key too. One that `streams` takes bodies of any length, as they come. `refuse` makes the answer that tells of an error, with a body of the type `error`.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    takes: Any = None
    gives: Any = None
    fails: tuple[int, ...] = ()
    binary: bool = False
    open: bool = False
    events: bool = False
    streams: bool = False
    refuse: Callable[[BaseException], HttpResponse] = lambda error: error_response(error)
    error: Any = ErrorBody


def json_response(value: object, status: int = OK) -> HttpResponse:
    """`value` as a JSON body."""
    return HttpResponse(msgspec.json.encode(value), status)


def error_response(error: BaseException) -> HttpResponse:
    """The answer that tells the caller of `error`."""
    body = msgspec.json.encode(ErrorBody(error_text(error)))
    return HttpResponse(body, http_status(error), headers=extra_headers(error))


MOST_KNOWN, LONGEST_KNOWN = 1024, 256
"""So many paths with parameters are remembered, of so many characters at most: callers choose what they ask for."""


class Router:
    """Finds the endpoint of a method and a path: a look-up for fixed paths and for those that were asked before, else patterns in
    order."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._fixed: dict[str, dict[str, Endpoint]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Endpoint]]] = {}
        self._known: dict[str, tuple[dict[str, Endpoint], dict[str, str]]] = {}
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
        known = self._known.get(path)
        if known is not None:
            return known
        if path in self._fixed:
            return self._fixed[path], {}
        for pattern, methods in self._patterns.values():
            found = pattern.fullmatch(path)
            if found:
                return self._remember(path, methods, {name: unquote(v) for name, v in found.groupdict().items()})
        raise UnknownName(f"nothing is served at {path}; GET /openapi.json lists every path")

    def _remember(
        self, path: str, methods: dict[str, Endpoint], parameters: dict[str, str]
    ) -> tuple[dict[str, Endpoint], dict[str, str]]:
        if len(path) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[path] = methods, parameters
        return methods, parameters
