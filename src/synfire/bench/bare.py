"""What the same bytes take from process to process with nothing around them: no link can be quicker than this on the machine at hand.

They go over a Unix socket, or through the memory that links lend (`synfire.wire.links.ring`) with word of it over the socket. The far end
copies them out and says when it had them, on `time.monotonic`. Both ends look for as long as workers do before they sleep, by one
system call and no selector. `python -m synfire.bench.bare SOCKET [RING]` is the far end, by the descriptors that it inherits.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from typing import Any

import numpy as np

from synfire.base.errors import Bug, PermanentError
from synfire.wire.links import Limits
from synfire.wire.links.ring import BorrowedRing, LentRing
from synfire.wire.messages import Frame
from synfire.wire.stream import Packet
from synfire.worker.peers import LOOK_S

SOCKET, RING = "bare socket", "bare ring"

_SENT = struct.Struct("=QQ?")
"""Where in the ring the bytes lie, how many there are, and whether their checksum is wanted; on a socket they follow."""
_ANSWER = struct.Struct("=dI")
_ROOM_BYTES = 1 << 20


class Bare:
    """A way to a far end of its own. The first `checked` frames are answered with a checksum."""

    def __init__(self, through_ring: bool, checked: int) -> None:
        self._checked = checked
        self._near, far = socket.socketpair()
        self._ring = LentRing(Limits().ring_bytes) if through_ring else None
        lent = [far.fileno(), *([self._ring.descriptor] if self._ring else [])]
        command = [sys.executable, "-m", "synfire.bench.bare", *map(str, lent)]
        self._process = subprocess.Popen(command, pass_fds=lent)
        far.close()
        if self._ring is not None:
            self._ring.close_descriptor()
        self._answer = memoryview(bytearray(_ANSWER.size))

    def hop(self, packet: Packet) -> tuple[float, int, int]:
        """Send the spikes as bits, and wait for the answer: seconds one way, bytes, and the spikes' checksum where all bits arrived."""
        frame, spikes = packet.message, np.ascontiguousarray(packet.arrays["spikes"])
        if not isinstance(frame, Frame):
            raise Bug(f"a {type(frame).__name__} was sent where only frames travel; please report this")
        bits, check = np.packbits(spikes).data, frame.number < self._checked
        sent_s = time.monotonic()
        try:
            self._send(bits, check)
            answered = _received(self._near, self._answer)
        except ConnectionError:
            answered = False
        if not answered:
            raise PermanentError("the far end of the benchmark ended; see what it printed")
        arrived_s, found = _ANSWER.unpack(self._answer)
        return arrived_s - sent_s, len(bits), zlib.crc32(spikes.data) if check and found == zlib.crc32(bits) else 0

    def close(self) -> None:
        self._near.close()
        self._process.wait()

    def _send(self, bits: memoryview, check: bool) -> None:
        if self._ring is None:
            sent = self._near.sendmsg([_SENT.pack(0, len(bits), check), bits])
            self._near.sendall(bits[sent - _SENT.size :])
            return
        place = self._ring.put([bits], len(bits))
        if place is None:
            raise Bug("the ring has no room though all of it was read; please report this")
        self._near.sendall(_SENT.pack(place, len(bits), check))


def serve(near: socket.socket, ring: BorrowedRing | None) -> None:
    """Be the far end, until the other one is gone."""
    head, room = memoryview(bytearray(_SENT.size)), memoryview(bytearray(_ROOM_BYTES))
    while _received(near, head):
        place, length, check = _SENT.unpack(head)
        if ring is None:
            near.recv_into(room, length, socket.MSG_WAITALL)
        else:
            room[:length] = ring.piece(place, length)
            ring.done(place, length)
        arrived_s = time.monotonic()
        near.sendall(_ANSWER.pack(arrived_s, zlib.crc32(room[:length]) if check else 0))


def _received(connection: socket.socket, into: memoryview) -> bool:
    """Fill `into`; false where the other end is gone."""
    until_s = time.monotonic() + LOOK_S
    while time.monotonic() < until_s:
        try:
            return _whole(connection, into, connection.recv_into(into, 0, socket.MSG_DONTWAIT))
        except BlockingIOError:
            os.sched_yield()
    return _whole(connection, into, connection.recv_into(into))


def _whole(connection: socket.socket, into: memoryview, got: int) -> bool:
    while 0 < got < len(into):
        more = connection.recv_into(into[got:])
        got = got + more if more else 0
    return got > 0


def main(descriptors: list[int]) -> None:
    rings: list[Any] = [BorrowedRing(each) for each in descriptors[1:]]
    with socket.socket(fileno=descriptors[0]) as near:
        serve(near, rings[0] if rings else None)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
