"""A link in an asyncio event loop: what arrives is handed over, and what waits is sent on as the peer takes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from synfire.base.errors import SynfireError, TemporaryError
from synfire.wire import batches
from synfire.wire.links.link import Link
from synfire.wire.stream import Packet


class WatchedLink:
    """Hands each packet to `take`; calls `lost` once, when the link breaks or the peer sends what it should not.

    A `SynfireError` that `take` raises breaks the link, too. What the peer said before it left is still heard when the link
    is found broken by sending. Made and used in one event loop.
    """

    def __init__(self, link: Link, take: Callable[[Packet], None], lost: Callable[[SynfireError], None]) -> None:
        self._link = link
        self._take = take
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._reading = self._writing = self._due = False
        self._gathered: list[Packet] = []
        self._gathered_bytes = 0
        self._loop.add_reader(link.fileno(), self._on_readable)

    @property
    def open(self) -> bool:
        return self._open

    def send(self, packet: Packet, later: bool = False) -> None:
        """Send, or queue, a packet. Raises `TemporaryError` when the link is broken, which `lost` is told first.

        With `later` it leaves in the loop's next turn, in one piece with whatever else is sent until then, and small frames that are alike
        as one packet; or before, when these are enough. The peer has to part such (`batches.part`).
        """
        if not self._open:
            raise TemporaryError(f"the link to {self._link.peer} is closed; try again when it is back")
        try:
            if later and (weight := batches.weight(packet)):
                self._gather(packet, weight)
            else:
                self._pack(later)
                self._link.send(packet, later)
        except TemporaryError as error:
            self._hear_out()
            self._break(error)
            raise
        if not later:
            self._watch_writing()
        elif not self._due:
            self._due = True
            self._loop.call_soon(self._send_due)

    def tell(self, packet: Packet) -> None:
        """Send a packet to a peer who may be gone, in which case nobody needs it."""
        if self._open:
            with contextlib.suppress(TemporaryError):
                self.send(packet)

    def close(self) -> None:
        """Free the link, without a word to `lost`. Closing twice is no error."""
        if self._open:
            self._open = False
            self._gathered.clear()
            self._loop.remove_reader(self._link.fileno())
            if self._writing:
                self._loop.remove_writer(self._link.fileno())
            self._link.close()

    def _gather(self, packet: Packet, weight: int) -> None:
        """Have the frame wait for others; all leave now where they are enough."""
        self._gathered.append(packet)
        self._gathered_bytes += weight
        if self._gathered_bytes >= batches.GATHERED_BYTES or len(self._gathered) >= batches.GATHERED_FRAMES:
            self._pack()
            self._link.flush()
            self._watch_writing()

    def _pack(self, later: bool = True) -> None:
        """Send what was gathered: before whatever is sent next."""
        if self._gathered:
            gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
            for packet in batches.gather(gathered):
                self._link.send(packet, later)

    def _on_readable(self) -> None:
        self._reading = True
        try:
            for packet in self._link.receive():
                self._take(packet)
        except SynfireError as error:
            self._break(error)
        finally:
            self._reading = False
        self._watch_writing()  # a link may have to answer, before anything is sent along it

    def _hear_out(self) -> None:
        """Hand over what has arrived, unless that is being done."""
        if not self._reading:
            self._on_readable()

    def _send_due(self) -> None:
        self._due = False
        if self._open:
            self._on_writable()

    def _on_writable(self) -> None:
        try:
            self._pack()
            self._link.flush()
        except TemporaryError as error:
            self._break(error)
        else:
            self._watch_writing()

    def _watch_writing(self) -> None:
        if not self._open or self._link.pending == self._writing:
            return
        self._writing = self._link.pending
        if self._writing:
            self._loop.add_writer(self._link.fileno(), self._on_writable)
        else:
            self._loop.remove_writer(self._link.fileno())

    def _break(self, error: SynfireError) -> None:
        if self._open:
            self.close()
            self._lost(error)
