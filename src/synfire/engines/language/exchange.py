"""One question to an engine's HTTP server at a Unix socket, and its answer as it comes: without blocking, and no more HTTP than that."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Iterator

from synfire.base.errors import PermanentError

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_CHUNKED = re.compile(rb"^transfer-encoding:\s*chunked\s*$", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_READ_BYTES = 1 << 16
_CONNECT_S = 5.0


class Exchange:
    """A request that is sent, and whose answer is read: by events where it is a stream of these, else as a whole.

    `receive` whenever the socket can be read, `send` while there is something `unsent` and it can be written. The address is a Unix
    socket's path, or `127.0.0.1:port`.
    """

    def __init__(self, address: str, target: str, body: bytes) -> None:
        """Raises `PermanentError` when nobody answers at the address."""
        self.status = 0
        self.ended = False
        self.unsent = (
            b"POST %s HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n" % (target.encode(), len(body))
        ) + body
        host, _, port = address.rpartition(":")
        family, place = (socket.AF_INET, (host, int(port))) if host else (socket.AF_UNIX, address)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._received = bytearray()
        self._body = bytearray()
        self._chunked = False
        self._left: int | None = None
        try:
            self._socket.settimeout(_CONNECT_S)
            self._socket.connect(place)
        except OSError as error:
            self._socket.close()
            raise PermanentError(f"the engine does not answer at {address}: {error}") from error
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def body(self) -> bytes:
        """What has come of an answer that is no stream of events, or of the next event."""
        return bytes(self._body)

    def send(self) -> None:
        """Send what the socket takes now."""
        try:
            self.unsent = self.unsent[self._socket.send(self.unsent) :]
        except BlockingIOError:
            return
        except OSError:  # an answer may come all the same: a refusal before all was read
            self.unsent = b""

    def receive(self) -> None:
        """Take in what has come; `ended` is set when that was all."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
        self._received += data
        if self.status or self._read_head():
            self._read_body()

    def events(self) -> Iterator[bytes]:
        """The data of each event that has come since."""
        *whole, rest = bytes(self._body).split(b"\n\n")
        self._body = bytearray(rest)
        for event in whole:
            for line in event.splitlines():
                kind, _, data = line.partition(b":")
                if kind in (b"data", b"error"):
                    yield data.strip()

    def close(self) -> None:
        """End it, which an engine takes for a cancellation. Closing twice is no error."""
        self._socket.close()

    def _read_head(self) -> bool:
        head, found, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not found:
            return False
        status = _STATUS.match(head)
        if status is None:
            raise PermanentError(f"the engine does not speak HTTP: it answered {head[:80]!r}")
        self.status = int(status[1])
        lines = head.replace(b"\r\n", b"\n")
        self._chunked = _CHUNKED.search(lines) is not None
        length = _LENGTH.search(lines)
        self._left = int(length[1]) if length and not self._chunked else None
        self._received = bytearray(rest)
        return True

    def _read_body(self) -> None:
        if not self._chunked:
            self._body += self._received
            self._received.clear()
            self.ended = self.ended or (self._left is not None and len(self._body) >= self._left)
            return
        while not self.ended and (end := self._received.find(b"\r\n")) >= 0:
            size = int(self._received[:end].split(b";")[0], 16)
            if len(self._received) < end + size + 4:
                break
            self._body += self._received[end + 2 : end + 2 + size]
            del self._received[: end + size + 4]
            self.ended = not size


def told(address: str, target: str, body: bytes) -> tuple[int, bytes]:
    """The status and the whole answer to one question, however long it takes. Raises `PermanentError` when nobody answers."""
    exchange = Exchange(address, target, body)
    try:
        while not exchange.ended:
            exchange.send()
            select.select([exchange], [exchange] if exchange.unsent else [], [])
            exchange.receive()
        return exchange.status, exchange.body
    finally:
        exchange.close()
