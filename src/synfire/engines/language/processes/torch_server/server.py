"""HTTP at a Unix socket, in one thread: requests are read between two tokens, and each answer under way is given one token in turn.

Answers are not computed as one batch. So the bits of each depend on its own request alone, whatever is asked beside it: this engine is there
to be right, and to run what no other one does; several answers at a time share its speed.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
from collections.abc import Iterator
from typing import Any

from .generation import Generating
from .model import Model, Refused

_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_PATIENCE_S = 30.0
_READ_BYTES = 1 << 16


class Server:
    """Answers `POST /completion`, as a stream of events, `/tokenize`, `/detokenize`, and `/adapter`, which loads one."""

    def __init__(self, address: str, model: Model, streams: int) -> None:
        self._model = model
        self._streams = streams
        self._watched = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen(64)
        self._watched.register(self._listener, selectors.EVENT_READ)
        self._requests: dict[socket.socket, bytearray] = {}
        self._answers: dict[socket.socket, Iterator[dict[str, Any]]] = {}

    def serve(self) -> None:
        """Answer, for ever."""
        while True:
            for key, _ in self._watched.select(0 if self._answers else None):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
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
                self._answers[connection] = iter(Generating(self._model, asked))
                self._send(connection, _EVENTS)
                return
            self._reply(connection, 200, self._told(target, asked))
        except Refused as refused:
            self._reply(connection, 400, {"error": refused.said})
        except (ValueError, KeyError, TypeError) as error:
            self._reply(
                connection, 400, {"error": {"message": f"{type(error).__name__}: {error}", "type": "invalid_request"}}
            )

    def _told(self, target: str, asked: dict[str, Any]) -> dict[str, Any]:
        if target == "/tokenize":
            return {
                "tokens": [
                    self._piece(each) for each in self._model.tokens(asked["content"], bool(asked.get("add_special")))
                ]
            }
        if target == "/detokenize":
            return {"content": self._model.text(asked["tokens"])}
        if target == "/adapter":
            self._model.adapt(asked["name"], asked["path"])
            return {"adapters": self._model.adapters}
        raise Refused(f"nothing is done at {target} here")

    def _piece(self, token: int) -> dict[str, Any]:
        """A token's number and text, or its bytes where these are a part of a character's."""
        text, content = self._model.token(token)
        return {"id": token, "piece": text if text.encode() == bytes(content) else content}

    def _go_on(self, connection: socket.socket) -> None:
        """The next token of an answer."""
        try:
            event = next(self._answers[connection], None)
        except Exception as error:  # of this answer alone: the others go on
            event = {"error": f"{type(error).__name__}: {error}"}
            self._answers[connection] = iter(())
        if event is None:
            self._close(connection)
        else:
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
        self._answers.pop(connection, None)
        self._requests.pop(connection, None)
        if connection.fileno() >= 0:
            self._watched.unregister(connection)
            connection.close()
