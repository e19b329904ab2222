"""Faults injected into a worker's links: which connections are dropped, or slow, and until when."""

from __future__ import annotations

import time

from synfire.base.errors import TemporaryError
from synfire.wire.links import Link, SocketLink
from synfire.wire.messages import Impair


class Impairments:
    """What was asked for, by the peer that it is about: a worker's address, or `gateway`."""

    def __init__(self) -> None:
        self._dropped: dict[str, float] = {}
        self._slow: dict[str, tuple[float, float]] = {}

    def note(self, impair: Impair) -> None:
        """Remember the fault for connections that are opened while it lasts."""
        until_s = time.monotonic() + impair.for_s
        if impair.delay_s:
            self._slow[impair.peer] = impair.delay_s, until_s
        else:
            self._dropped[impair.peer] = until_s

    def check(self, peer: str) -> None:
        """Raise `TemporaryError` while connections to the peer are dropped."""
        if self._dropped and time.monotonic() < self._dropped.get(peer, 0.0):
            raise dropped(peer)

    def apply(self, peer: str, link: Link) -> None:
        """Slow down a connection to the peer, if they are slow now."""
        if self._slow:
            delay_s, until_s = self._slow.get(peer, (0.0, 0.0))
            left_s = until_s - time.monotonic()
            if left_s > 0 and isinstance(link, SocketLink):
                link.hold_back(delay_s, left_s)


def dropped(peer: str) -> TemporaryError:
    """What those are told that depended on the connection."""
    return TemporaryError(f"the connection to {peer} is dropped by an injected fault; try again when that is over")
