"""A worker's connections: who is at the other end, and what is known of them."""

from __future__ import annotations

import selectors
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from synfire.wire.links import Link

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

_REMEMBERED = 1024


@dataclass(eq=False)
class Peer:
    """One connection. `address` is set where this worker opened it; `who` once the other side has said hello.

    `senders` are the (model, stage) pairs whose frames came along it; `crossed` are the latest requests, with their origins,
    of which frames left along it: nobody knows whether those have arrived when it breaks.
    """

    link: Link
    address: str = ""
    who: str = ""
    senders: set[tuple[str, str]] = field(default_factory=set)
    crossed: OrderedDict[str, str] = field(default_factory=OrderedDict)
    watched: int = 0

    @property
    def distant(self) -> bool:
        """Whether this worker opened it to one on another host."""
        return self.address.startswith("tcp:")

    def crosses(self, request: str, origin: str) -> None:
        """A frame of the request leaves along it."""
        self.crossed[request] = origin
        if len(self.crossed) > _REMEMBERED:
            self.crossed.popitem(last=False)


class Watch:
    """Watches connections in one selector: always for reading, and for writing while something waits to be sent."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def add(self, peer: Peer, act: Callable[[int], None]) -> None:
        peer.watched = READ
        self.selector.register(peer.link.fileno(), READ, act)

    def refresh(self, peer: Peer) -> None:
        """Look whether the peer's link has something to write."""
        wanted = READ | WRITE if peer.link.pending else READ
        if peer.watched not in (0, wanted):
            act = self.selector.get_key(peer.link.fileno()).data
            self.selector.modify(peer.link.fileno(), wanted, act)
            peer.watched = wanted

    def remove(self, peer: Peer) -> None:
        if peer.watched:
            self.selector.unregister(peer.link.fileno())
            peer.watched = 0
