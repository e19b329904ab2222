"""A link inside one process: packets are handed over as they are, nothing is encoded."""

from __future__ import annotations

from collections import deque

from synfire.base.errors import TemporaryError
from synfire.wire.links.link import Limits
from synfire.wire.stream import Packet, array_bytes


class MemoryLink:
    """One end of a pair. What arrives waits at the receiver's end until it calls `receive`."""

    def __init__(self, peer: str, limits: Limits) -> None:
        self.peer = peer
        self._limits = limits
        self._arrived: deque[Packet] = deque()
        self._arrived_bytes = 0
        self._far: MemoryLink | None = None

    @classmethod
    def pair(cls, one: str, other: str, limits: Limits | None = None) -> tuple[MemoryLink, MemoryLink]:
        """Two ends that are joined; `one` is the name of the first end's owner."""
        limits = limits or Limits()
        near, far = cls(other, limits), cls(one, limits)
        near._far, far._far = far, near
        return near, far

    @property
    def pending(self) -> bool:
        return False

    @property
    def full(self) -> bool:
        return self._far is not None and self._far._arrived_bytes > self._limits.queue_bytes

    @property
    def waiting(self) -> bool:
        """Whether `receive` would give something."""
        return bool(self._arrived)

    def fileno(self) -> int:
        return -1

    def send(self, packet: Packet, later: bool = False) -> int:
        if self._far is None:
            raise TemporaryError(f"the link to {self.peer} is broken: its end in memory was closed; try again")
        self._far._arrived.append(packet)
        self._far._arrived_bytes += array_bytes(packet.arrays.values())
        return 0

    def flush(self) -> None:
        """Nothing ever waits here."""

    def receive(self) -> list[Packet]:
        packets = list(self._arrived)
        self._arrived.clear()
        self._arrived_bytes = 0
        if not packets and self._far is None:
            raise TemporaryError(f"the link to {self.peer} is broken: its end in memory was closed; try again")
        return packets

    def close(self) -> None:
        if self._far is not None:
            self._far._far = None
            self._far = None
        self._arrived.clear()
