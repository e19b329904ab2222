"""HTTP at a Unix socket, in one thread: requests are read between two steps of the answers that are under way."""

from __future__ import annotations

import json
import re
import selectors
import socket
from collections.abc import Generator
from typing import Any, Protocol

_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_PATIENCE_S = 30.0
_READ_BYTES = 1 << 16


Event = dict[str, Any]
Answer = Generator[Event | None, None, None]
"""The events of an answer as they come; None where there is none yet."""


class Refused(Exception):
    """Raised for a request that the model cannot answer; `said` goes into the refusal, as llama.cpp's has it."""

    def __init__(self, message: str, kind: str = "invalid_request", **more: Any) -> None:
        super().__init__(message)
        self.said = {"message": message, "type": kind, **more}


class Model(Protocol):
    """What is served."""

    def begin(self, asked: Event) -> Answer:
        """The answer to one request. Raises `Refused`. It is closed when nobody waits for it any more."""
        ...

    def step(self) -> None:
        """Compute a step of all answers that are under way, for a model that computes them together."""
        ...

    def told(self, target: str, asked: Event) -> Event:
        """The answer to any other question. Raises `Refused`."""
        ...


class Server:
    """Answers `POST /completion` as a stream of events, and everything else at once."""

    def __init__(self, address: str, model: Model, streams: int) -> None:
        self._model = model
        self._streams = streams
        self._watched = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen(64)
        self._watched.register(self._listener, selectors.EVENT_READ)
        self._requests: dict[socket.socket, bytearray] = {}
        self._answers: dict[socket.socket, Answer] = {}

    def serve(self) -> None:
        """Answer, for ever."""
        while True:
            for key, _ in self._watched.select(0 if self._answers else None):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
            if self._answers:
                self._model.step()
            for connection in list(self._answers)[: self._streams]:
                self._go_on(connection)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(_PATIENCE_S)
        self._requests[connection] = bytearray()
        self._watched.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        """Take in what has come: of a request, or nothing, when whoever asked has gone."""
        try:
            data = connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        if connection not in self._requests:
            return
        self._requests[connection] += data
        head, found, body = bytes(self._requests[connection]).partition(b"\r\n\r\n")
        length = _LENGTH.search(head.replace(b"\r\n", b"\n"))
        if found and len(body) >= (int(length[1]) if length else 0):
            del self._requests[connection]
            self._begin(connection, head.split(b" ")[1].decode(), body)

    def _begin(self, connection: socket.socket, target: str, body: bytes) -> None:
        try:
            asked = json.loads(body)
            if target == "/completion":
                self._answers[connection] = self._model.begin(asked)
                self._send(connection, _EVENTS)
                return
            self._reply(connection, 200, self._model.told(target, asked))
        except Refused as refused:
            self._reply(connection, 400, {"error": refused.said})
        except (ValueError, KeyError, TypeError) as error:
            self._reply(
                connection, 400, {"error": {"message": f"{type(error).__name__}: {error}", "type": "invalid_request"}}
            )

    def _go_on(self, connection: socket.socket) -> None:
        """The next event of an answer, where there is one."""
        try:
            event = next(self._answers[connection])
        except StopIteration:
            self._close(connection)
            return
        except Exception as error:  # of this answer alone: the others go on
            self._answers[connection].close()
            event = {"error": f"{type(error).__name__}: {error}"}
        if event is not None:
            self._send(connection, b"data: %s\n\n" % json.dumps(event).encode())

    def _reply(self, connection: socket.socket, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._send(connection, head.encode() + body)
        self._close(connection)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            connection.sendall(data)
        except OSError:  # nobody waits for it any more
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        answer = self._answers.pop(connection, None)
        if answer is not None:
            answer.close()
        self._requests.pop(connection, None)
        if connection.fileno() >= 0:
            self._watched.unregister(connection)
            connection.close()
