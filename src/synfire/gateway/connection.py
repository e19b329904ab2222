"""One caller's HTTP connection, and each of its requests with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from synfire.base.errors import Bug, UserError
from synfire.gateway.app import App, head_of
from synfire.gateway.body import Gone, Incoming
from synfire.gateway.http import ErrorBody, HttpResponse
from synfire.gateway.patience import Patience

HEADER_BYTES = 64 * 2**10
"""Longest request line and headers together; no client of ours sends a tenth of it."""

PROBES_S = (0.05, 0.05, 0.5)
"""When a caller that has stopped to send is looked after: how long after that, and after the last time. The first probe
makes a caller that is gone say so, the next one hears it, also where it takes half a second to and fro."""


TOGETHER = 16
"""So many answers leave together at most. Callers of a full turn would else all be idle until its end, and this process after it."""


class Outbox:
    """Answers of all connections, which leave together, by the end of the event loop's turn: waking a caller who sleeps until an answer comes
    takes as long as a third of a small request, and while it wakes up for the first one the others cost nothing."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.WriteTransport, tuple[bytes, ...]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, transport: asyncio.WriteTransport, parts: tuple[bytes, ...]) -> None:
        """Have the parts written to the transport soon. Called in the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.empty)
        self._waiting.append((transport, parts))
        if len(self._waiting) >= TOGETHER:
            self.empty()

    def empty(self) -> None:
        """Write now what waits, but to callers who have gone meanwhile."""
        waiting, self._waiting = self._waiting, []
        for transport, parts in waiting:
            if not transport.is_closing():
                transport.writelines(parts)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which tells of malformed requests as every other error is told, bounds headers, calls the `app` at once, writes
    whole answers at once, and answers callers that have closed their own side after the request. While several requests are under way
    their answers leave by the `outbox`; `idle` waits for connections that nothing comes along.

    TCP tells such a caller and one that has gone apart only when something is written. What may be written before an answer
    is `100 Continue`, which HTTP has clients pass over: one that is gone refuses it, and its call is cancelled.
    """

    headers: dict[bytes, bytes]  # type: ignore[assignment]
    cycle: Exchange

    def __init__(self, *given: Any, called: App, outbox: Outbox, idle: Patience, **named: Any) -> None:
        super().__init__(*given, **named)
        self._called = called
        self._outbox = outbox
        self._idle = idle

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = {}
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        before, self.cycle = self.cycle, Exchange(self, self._called)
        if before is None or before.response_complete:
            self._start(self.cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start(cast(Exchange, self.pipeline.pop()[0]))
        else:
            self._idle.begin(self, self.timeout_keep_alive)

    def overdue(self) -> None:
        """Nothing has come for so long that the connection ends."""
        self.timeout_keep_alive_handler()

    def leave(self, parts: tuple[bytes, ...]) -> None:
        """Write an answer after which the connection stays."""
        if len(self.tasks) > 1 or self._outbox:
            self._outbox.put(self.transport, parts)
        else:
            self.transport.writelines(parts)

    def send_400_response(self, msg: str) -> None:
        body = msgspec.json.encode(ErrorBody(f"{msg} Check the request line, Content-Length and the headers' size."))
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more. True keeps the connection: what it asked is whole, and its answer has not begun.

        One that leaves while it is answered step by step is taken to have gone: nothing may be written between the steps.
        """
        self._outbox.empty()
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_started:
            return False
        cycle.keep_alive = False
        if cycle.scope["http_version"] == "1.1":  # an older caller would take the first line for the answer's
            self._probe_later(cycle, PROBES_S)
        return True

    def shutdown(self) -> None:
        self._outbox.empty()  # what is closed writes no more
        super().shutdown()

    def _start(self, exchange: Exchange) -> None:
        exchange.task = self.loop.create_task(exchange.run_asgi(exchange.answer))
        self.tasks.add(exchange.task)

    def _should_upgrade(self) -> bool:
        return False  # there is no other protocol here

    def _unset_keepalive_if_required(self) -> None:
        self._idle.end(self)

    def _probe_later(self, cycle: RequestResponseCycle, pauses_s: tuple[float, ...]) -> None:
        if pauses_s:
            self.loop.call_later(pauses_s[0], self._probe, cycle, pauses_s[1:])

    def _probe(self, cycle: RequestResponseCycle, later_s: tuple[float, ...]) -> None:
        if not (cycle.response_started or self.pipeline or self.transport.is_closing()):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._probe_later(cycle, later_s)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES:
            raise UserError(f"the headers are longer than {HEADER_BYTES} bytes")


class Exchange(RequestResponseCycle):
    """A request and its answer: uvicorn's, of which only answers that come bit by bit take the way of ASGI's messages."""

    task: asyncio.Task[None]

    def __init__(self, connection: Connection, app: App) -> None:
        parser, headers = connection.parser, connection.headers
        version = parser.get_http_version()
        super().__init__(
            scope=cast(Any, {"method": parser.get_method().decode("ascii"), "http_version": version}),
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=headers.get(b"expect", b"").lower() == b"100-continue",
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=connection.on_response_complete,
        )
        self.body = b""  # type: ignore[assignment]  # to which a body that comes in one piece is not copied
        self._path = httptools.parse_url(connection.url).path.decode("ascii")
        self._headers = headers
        self._connection = connection
        self._app = app

    def whole(self) -> bytes | None:
        """The body; see `synfire.gateway.body.Incoming`."""
        if self.more_body or self.disconnected:
            return None
        self.flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return body

    async def answer(self, *asgi: object) -> None:
        """Have the application answer, and send that."""
        method = self.scope["method"]
        try:
            response = await self._app.answer(method, self._path, self._headers, cast(Incoming, self))
            if response.chunks is not None or method == "HEAD" or not self._written(response):
                await self._app.send(response, method, cast(Any, self.receive), cast(Any, self.send))
        except Gone:
            pass
        finally:
            self._connection.tasks.discard(self.task)

    def _written(self, response: HttpResponse) -> bool:
        return write_whole(self, self._connection.leave, response.status, head_of(response), response.body)


def write_whole(
    cycle: RequestResponseCycle,
    leave: Callable[[tuple[bytes, ...]], None],
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> bool:
    """Answer a request in one write, by `leave` where the connection stays. False, and nothing written, where the caller has to read
    first what it was sent before.

    `headers` give the body's length; `connection`, where it is there, in lower case. What uvicorn does in two coroutines takes a
    tenth of a small request.
    """
    if cycle.flow.write_paused:
        return False
    if cycle.disconnected:
        return True
    closes = (b"connection", b"close") in headers
    lines = [b"%b: %b\r\n" % header for header in headers]
    if not cycle.keep_alive and not closes:
        lines.append(b"connection: close\r\n")
    head = b"".join((STATUS_LINE[status], *lines, b"\r\n"))
    if head.count(b"\n") != len(lines) + 2:
        raise Bug(f"a header of an answer holds a line break: {headers!r}")
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    if closes or not cycle.keep_alive:
        cycle.transport.writelines((head, body))
        cycle.keep_alive = False
        cycle.transport.close()
    else:
        leave((head, body))
    cycle.on_response()
    return True
