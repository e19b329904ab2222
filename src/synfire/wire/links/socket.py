"""A link over a connected stream socket: Unix on a host, TCP between hosts.

On a host the payloads of large packets travel through memory that each side lends to the other (`ring`), and only their headers
through the socket. So the socket is what wakes the peer, keeps the order and tells of its end; and it takes a payload, too,
for which the ring has no room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections import deque

from synfire.base.errors import TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.wire.links.held import HeldBack
from synfire.wire.links.link import Limits
from synfire.wire.links.ring import BorrowedRing, LentRing
from synfire.wire.links.silence import Acknowledgement, Silence
from synfire.wire.stream import OFFER, Buffer, Packet, Reader, array_bytes, pack, refer

_CHUNK_BYTES = 1 << 16  # larger reads would map fresh memory each time
_MAX_BUFFERS = 64
_MAX_READS = 64  # then it is others' turn; whoever watches the socket is told again
_DESCRIPTOR_BYTES = socket.CMSG_SPACE(4)


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
        self._near = connection.family == socket.AF_UNIX
        self._silence = None if self._near else Silence()
        self._lends = self._near and self._limits.ring_bytes > 0
        self._borrows = self._near
        self._lent: LentRing | None = None
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

    def ends(self) -> tuple[str, str]:
        """The hosts at both ends of a TCP connection: this one as the peer calls it, and the peer's. Raises `TemporaryError` where it is
        broken."""
        try:
            here, there = self._socket.getsockname()[0], self._socket.getpeername()[0]
        except OSError as error:
            raise self._broken(error) from error
        return here.removeprefix("::ffff:"), there.removeprefix("::ffff:")

    def send(self, packet: Packet, later: bool = False) -> int:
        buffers, length = pack(packet, self._near)
        if max(length, array_bytes(packet.arrays.values())) > self._limits.max_frame_bytes:
            raise UserError(
                f"a packet of {length} bytes to {self.peer} is larger than the {self._limits.max_frame_bytes} allowed; raise "
                "max_frame_bytes on both sides, or send fewer steps or a smaller batch at once"
            )
        if self._lends and length >= self._limits.ring_from_bytes:
            buffers = self._lay(buffers, length)
        self._send(buffers, later)
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
                data = self._read()
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
        return silent_s if found.waits or found.queued or self._waiting else None

    @property
    def acknowledged(self) -> bool:
        """Whether the peer's host has taken all that was sent, be it read there or not; on this host nobody says so."""
        return not self._near and not self.pending and not Acknowledgement.of(self._socket).queued

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._lent = self._reader.lent = None

    def _send(self, buffers: list[Buffer], later: bool) -> None:
        if self._held is not None:
            if self._held.put(buffers):
                return
            self._held = None
        sent = 0 if later or self._waiting else self._write(buffers)
        if sent < sum(map(len, buffers)):
            self._queue(buffers, sent)

    def _lay(self, buffers: list[Buffer], length: int) -> list[Buffer]:
        """What is to be sent once the payload lies in the ring; the buffers as they are where it has no room."""
        header, *payload = buffers
        if self._lent is None:
            self._lend()
        place = self._lent.put(payload, length - len(header)) if self._lent is not None else None
        return buffers if place is None else [refer(header, place)]

    def _lend(self) -> None:
        """Lend memory to the peer; not while something waits to be sent, since a descriptor goes along with bytes that leave."""
        if self._waiting or self._held is not None:
            return
        try:
            ring = LentRing(self._limits.ring_bytes)
        except OSError as error:
            LOGGER.warning("no memory is shared with %s, whose frames all take the socket: %s", self.peer, error)
            self._lends = False
            return
        with contextlib.suppress(OSError):  # full: another time; broken: whoever sends next is told
            socket.send_fds(self._socket, [OFFER], [ring.descriptor])
            self._lent = ring
        ring.close_descriptor()

    def _read(self) -> bytes:
        if not self._borrows:
            return self._socket.recv(_CHUNK_BYTES)
        data, beside, _, _ = self._socket.recvmsg(_CHUNK_BYTES, _DESCRIPTOR_BYTES, socket.MSG_CMSG_CLOEXEC)
        for level, kind, descriptor in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._reader.lent = BorrowedRing(int.from_bytes(descriptor, sys.byteorder))
                self._borrows = False
        return data

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
