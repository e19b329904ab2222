"""What every link does, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from synfire.base.errors import UserError
from synfire.wire.stream import Packet

LEAST_FRAME_BYTES = 1 << 20
"""What every link takes, in bytes: small frames are gathered into packets of a tenth of that."""


@dataclass(frozen=True)
class Limits:
    """What a link may hold."""

    max_frame_bytes: int = 1 << 28
    """The largest packet, encoded and decoded, in bytes. 256 MiB hold 64 Mi floats, far above any sensible frame;
    beyond that a damaged length field is likelier than a real one."""

    queue_bytes: int = 1 << 26
    """How much may wait to be sent before the link calls itself full, in bytes. 64 MiB are some seconds of a Unix
    socket, so a peer that stays behind for longer is ill."""

    ring_bytes: int = 1 << 23
    """Memory that is lent to a peer on this host to read frames from, in bytes; 0 lends none. 8 MiB hold some large frames on
    their way, and what is never written to takes no memory."""

    ring_from_bytes: int = 1 << 16
    """From this size on a packet's payload is laid into that memory, in bytes. Below it the kernel has copied a payload in the
    time that it takes to find it a place: `synfire bench hop` finds the two even at 32 to 64 KiB."""

    def __post_init__(self) -> None:
        if self.max_frame_bytes < LEAST_FRAME_BYTES:
            raise UserError(f"max_frame_bytes is {self.max_frame_bytes}; it takes {LEAST_FRAME_BYTES} or more")


class Link(Protocol):
    """Carries packets to a peer and back: in order, each once, exact to the bit, until it breaks.

    No method waits. A loop (a selector, or asyncio) watches `fileno` and calls `receive` when it can be read and `flush`
    when it can be written and `pending` is set. Not thread-safe: one thread owns a link.
    """

    peer: str
    """Who is at the other end, for messages."""

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent."""
        ...

    @property
    def full(self) -> bool:
        """Whether so much waits that the caller should send no more for now; `send` still accepts."""
        ...

    def fileno(self) -> int:
        """What to watch; −1 for a link that needs no watching."""
        ...

    def send(self, packet: Packet, later: bool = False) -> int:
        """Send, or queue, one packet, and return its encoded size.

        With `later` it may wait until `flush`, which the caller promises: several then leave, and wake the peer, at once.
        Raises `TemporaryError` when the link is broken, and `UserError` for a packet that is too large to travel.
        """
        ...

    def flush(self) -> None:
        """Send on what waits. Raises `TemporaryError` when the link is broken."""
        ...

    def receive(self) -> list[Packet]:
        """What has arrived. Raises `TemporaryError` once when the peer is gone and all of it was handed over, and
        `UserError` when the peer sends something that is no packet; the link is closed then."""
        ...

    def close(self) -> None:
        """Free the link; what still waits to be sent is dropped. Closing twice is no error."""
        ...
