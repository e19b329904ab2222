"""Memory that a process lends to a peer on its host: what it sends is written there once, and decoded from there.

    bytes 0 … 7    how far the peer has read, written by the peer; a whole number in this machine's order
    bytes 64 …     what was sent, one piece after the other, around and around

A position counts all bytes that were ever written or left out. A piece never wraps: one that does not fit before the end
begins again at the front. Where everything has been read the next piece begins at the front too, so that a link with little
to do stays within the same few pages, which are in the processor's caches. Nothing waits here: where there is no room the
sender takes another way.

The memory has no name (`memfd_create`), so it is gone with the last process that maps it, however that dies. It is sealed: the
peer cannot cut it short, which would kill whoever reads on.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterable

from synfire.base.errors import UserError

Buffer = bytes | bytearray | memoryview

_FRONT = 64
_ALIGNED = 64
_PLACES = 1 << 62
"""More than a link ever carries, and far below what the first 8 bytes hold."""


class LentRing:
    """The writer's side. Raises `OSError` where the system has no such memory."""

    def __init__(self, size: int) -> None:
        size = max(_ALIGNED, size - size % _ALIGNED)
        if not hasattr(os, "memfd_create"):
            raise OSError(errno.ENOSYS, "this system has no memfd_create")
        self.descriptor = os.memfd_create("synfire-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, _FRONT + size)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _seals())
            self._memory = memoryview(mmap.mmap(self.descriptor, _FRONT + size))
        except BaseException:
            self.close_descriptor()
            raise
        self._size = size
        self._read = self._memory[:8].cast("Q")
        self._head = self._began = 0

    def put(self, pieces: Iterable[Buffer], length: int) -> int | None:
        """Write the pieces, of `length` bytes together, one behind the other; their position, or None where there is no room."""
        place = self._place(length)
        if place is None:
            return None
        at = _FRONT + place % self._size
        for each in pieces:
            end = at + len(each)
            self._memory[at:end] = each
            at = end
        self._head = _aligned(place + length)
        return place

    def close_descriptor(self) -> None:
        """The peer has a descriptor of its own now, or never will have."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _place(self, length: int) -> int | None:
        read, head = max(self._read[0], self._began), self._head
        empty = read == head
        if empty or head % self._size + length > self._size:
            head += -head % self._size
        if empty:
            read = self._began = self._head = head
        return head if length <= head + length - read <= self._size else None  # what was never written cannot be read


class BorrowedRing:
    """The reader's side. Raises `UserError` for memory that could be cut short, or is none."""

    def __init__(self, descriptor: int) -> None:
        try:
            size = os.fstat(descriptor).st_size - _FRONT
            if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _seals() != _seals() or size <= 0:
                raise UserError("the peer lends memory that is not sealed; do both sides run the same version?")
            self._memory = memoryview(mmap.mmap(descriptor, _FRONT + size))
        except (OSError, ValueError) as error:
            raise UserError(
                f"the memory that the peer lends cannot be read: {error}; free some memory of this host"
            ) from error
        finally:
            os.close(descriptor)
        self._size = size
        self._read = self._memory[:8].cast("Q")

    def piece(self, place: int, length: int) -> memoryview:
        """What lies there, until it is `done`. Raises `UserError` for a place that is none."""
        into = place % self._size
        if into + length > self._size or place >= _PLACES:
            raise UserError(
                f"{length} bytes at {place} are none of the memory that the peer lends; the frame is damaged"
            )
        return self._memory[_FRONT + into : _FRONT + into + length]

    def done(self, place: int, length: int) -> None:
        """The peer may write there again, and everywhere before."""
        self._read[0] = _aligned(place + length)


def _aligned(position: int) -> int:
    return position + -position % _ALIGNED


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
