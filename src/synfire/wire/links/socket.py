"""A link over a connected stream socket: Unix on a host, TCP between hosts."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections import deque

from synfire.base.errors import TemporaryError, UserError
from synfire.wire.links.held import HeldBack
from synfire.wire.links.link import Limits
from synfire.wire.links.silence import Acknowledgement, Silence
from synfire.wire.stream import Buffer, Packet, Reader, array_bytes, pack

_CHUNK_BYTES = 1 << 16  # larger reads would map fresh memory each time
_MAX_BUFFERS = 64
_MAX_READS = 64  # then it is others' turn; whoever watches the socket is told again


class SocketLink:
    """Sends with scatter-gather writes straight from the arrays; queues only what the kernel does not take.

    `connection` may still be connecting: packets then wait until it is through.
    """

    def __init__(self, connection: socket.socket, peer: str, limits: Limits | None = None) -> None:
        self.peer = peer
        self._limits = limits or Limits()
        self._socket = connection
        self._socket.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._silence = Silence() if connection.family != socket.AF_UNIX else None
        self._reader = Reader(self._limits.max_frame_bytes)
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._held: HeldBack | None = None

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        held = self._held.waiting_bytes if self._held is not None else 0
        return self._waiting_bytes + held > self._limits.queue_bytes

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, packet: Packet) -> int:
        buffers, length = pack(packet)
        if max(length, array_bytes(packet.arrays.values())) > self._limits.max_frame_bytes:
            raise UserError(
                f"a packet of {length} bytes to {self.peer} is larger than the {self._limits.max_frame_bytes} allowed; raise "
                "max_frame_bytes on both sides, or send fewer steps or a smaller batch at once"
            )
        if self._held is not None:
            if self._held.put(buffers):
                return length
            self._held = None
        sent = 0 if self._waiting else self._write(buffers)
        if sent < length:
            self._queue(buffers, sent)
        return length

    def hold_back(self, delay_s: float, for_s: float) -> None:
        """Let what is sent in the next `for_s` seconds leave `delay_s` later: an injected fault."""
        if self._held is not None and self._held.prolong(delay_s, for_s):
            return
        held = HeldBack(self._socket, delay_s, for_s)
        held.put(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._held = held

    def flush(self) -> None:
        while self._waiting:
            sent = self._write([self._waiting[i] for i in range(min(len(self._waiting), _MAX_BUFFERS))])
            if not sent:
                return
            self._drop_sent(sent)

    def receive(self) -> list[Packet]:
        packets: list[Packet] = []
        for _ in range(_MAX_READS):
            try:
                data = self._socket.recv(_CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                return packets
            except OSError as error:
                raise self._broken(error) from error
            if not data:
                if packets:
                    return packets
                raise self._broken(None)
            packets += self._reader.feed(data)
            if len(data) < _CHUNK_BYTES:
                break
        return packets

    def silent_s(self, now_s: float) -> float | None:
        """For how long what was sent has waited without a sign of the peer's host, in seconds; None when nothing waits.

        Be it asked every `LOOK_S`. It is 0 as long as that host acknowledges, whatever the process there does.
        """
        if self._silence is None:
            return None
        found = Acknowledgement.of(self._socket)
        silent_s = self._silence.look(now_s, found)
        return silent_s if found.waits or self._waiting else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._waiting.clear()
        self._waiting_bytes = 0

    def _write(self, buffers: list[Buffer] | list[memoryview]) -> int:
        try:
            return self._socket.sendmsg(buffers[:_MAX_BUFFERS])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if error.errno in _CONNECTING and self._connecting():
                return 0
            raise self._broken(error) from error

    def _connecting(self) -> bool:
        return not self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _queue(self, buffers: list[Buffer], sent: int) -> None:
        for each in buffers:
            view = memoryview(each)
            if sent >= len(view):
                sent -= len(view)
                continue
            self._waiting.append(view[sent:])
            self._waiting_bytes += len(view) - sent
            sent = 0

    def _drop_sent(self, sent: int) -> None:
        self._waiting_bytes -= sent
        while sent:
            first = self._waiting[0]
            if sent < len(first):
                self._waiting[0] = first[sent:]
                return
            sent -= len(first)
            self._waiting.popleft()

    def _broken(self, error: OSError | None) -> TemporaryError:
        why = (os.strerror(error.errno) if error.errno else str(error)) if error else "the peer closed it"
        cut = ", in the middle of a packet" if self._reader.waiting else ""
        return TemporaryError(f"the link to {self.peer} is broken: {why}{cut}; try again when it is back")


_CONNECTING = {errno.ENOTCONN, errno.EINPROGRESS}
