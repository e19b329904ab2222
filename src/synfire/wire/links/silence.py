"""Whether the other end of a TCP connection still acknowledges what it is sent.

A host that packets do not reach any more tells nobody: without this, what is sent there waits for a quarter of an hour until
TCP gives up. The kernel at the other end acknowledges what its process has not read yet, so a worker that computes for long,
or hangs, is not silent. `TCP_USER_TIMEOUT` does not tell these two apart: it also breaks the connection to a process that
lives but has not read for that long, once its window is closed.

What the kernel knows of a connection is `struct tcp_info` in Linux' `include/uapi/linux/tcp.h`; elsewhere nobody is silent.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from dataclasses import dataclass

SILENT_S = 0.25
"""For how long nothing may be acknowledged before the way there is taken to be broken, in seconds. TCP has sent the last packet
again by then, after 0.2 s."""

LOOK_S = 0.025
"""How often a connection is looked at that something has not been acknowledged of, in seconds."""

_INFO = struct.Struct("=3xB20xI28xI")
"""The beginning of `tcp_info`, of which are wanted: `tcpi_probes`, `tcpi_unacked`, `tcpi_last_ack_recv` (in milliseconds)."""

_PROBED = 2
"""So many probes of a closed window go unanswered only where nobody is there: an answer may come while the first is counted."""


@dataclass(frozen=True)
class Acknowledgement:
    """What the kernel knows: whether something `waits` to be acknowledged, and how long ago the peer was heard of. What is only `queued` has
    not left: the peer takes nothing now, or this host has no way there.
    """

    waits: bool
    heard_ago_s: float
    queued: bool = False

    @classmethod
    def of(cls, connection: socket.socket) -> Acknowledgement:
        """How it stands with a TCP connection, also with one that is being opened."""
        if not hasattr(socket, "TCP_INFO"):
            return cls(False, 0.0)
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        probes, unacknowledged, heard_ago_ms = _INFO.unpack(told)
        queued = struct.unpack("=i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0] > 0
        return cls(unacknowledged > 0 or probes >= _PROBED, heard_ago_ms / 1e3, queued)


class Silence:
    """Judges one connection by looks at it, every `LOOK_S` while something waits."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._looked_s = 0.0

    def look(self, now_s: float, found: Acknowledgement) -> float:
        """For how long something has waited without a sign of the peer, in seconds.

        Who has not looked for long stood still, perhaps with the whole machine: that is nobody's silence.
        """
        late_s, self._looked_s = now_s - self._looked_s, now_s
        if not found.waits:
            self._since_s = None
            return 0.0
        if self._since_s is None or late_s > SILENT_S:
            self._since_s = now_s
        self._since_s = max(self._since_s, now_s - found.heard_ago_s)
        return now_s - self._since_s
