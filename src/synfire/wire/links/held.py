"""A slow way to a peer, emulated: what is sent along it leaves some time later."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable

from synfire.wire.stream import Buffer

_LOOK_S = 0.2


class HeldBack:
    """Sends along a socket in a thread of its own, each piece `delay_s` after it was given, for `for_s` seconds; then at once.

    Pieces keep their order. When the peer is gone they are dropped: whoever reads from the socket hears of that.
    """

    def __init__(self, connection: socket.socket, delay_s: float, for_s: float) -> None:
        self._delay_s = delay_s
        self._until_s = time.monotonic() + for_s
        self._socket = connection.dup()  # so that it never comes to mean another one while the thread waits for it
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._last_s = 0.0
        self._bytes = 0
        self._over = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name="held back")
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing is held back any more: the socket is its owner's alone again."""
        return self._over

    @property
    def waiting_bytes(self) -> int:
        """What waits to be sent, in bytes."""
        return self._bytes

    def prolong(self, delay_s: float, for_s: float) -> bool:
        """Hold back by another delay, until another time. False when it is over."""
        with self._change:
            if self._over:
                return False
            self._delay_s, self._until_s = delay_s, time.monotonic() + for_s
            self._change.notify()
        return True

    def put(self, buffers: Iterable[Buffer]) -> bool:
        """Send this, later. False when it is over, and nothing was taken."""
        data = b"".join(buffers)
        with self._change:
            now_s = time.monotonic()
            if self._over:
                return False
            self._last_s = max(self._last_s, now_s + self._delay_s if now_s < self._until_s else now_s)
            self._pieces.append((self._last_s, data))
            self._bytes += len(data)
            self._change.notify()
        return True

    def _run(self) -> None:
        with self._socket:
            while (data := self._next()) is not None:
                self._send(data)

    def _next(self) -> bytes | None:
        """The next piece, when it is due; None when it is over."""
        with self._change:
            while True:
                now_s = time.monotonic()
                if self._pieces and self._pieces[0][0] <= now_s:
                    return self._pieces[0][1]
                if self._over or (not self._pieces and now_s >= self._until_s):
                    self._over = True
                    return None
                self._change.wait((self._pieces[0][0] if self._pieces else self._until_s) - now_s)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._over:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, InterruptedError):
                select.select([], [self._socket], [], _LOOK_S)
            except OSError:
                self._over = True
        with self._change:
            self._pieces.popleft()
            self._bytes -= len(data)
