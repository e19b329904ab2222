"""A worker's connections: who is at the other end, what is known of them, and how the worker waits for them."""

from __future__ import annotations

import os
import selectors
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from synfire.wire.links import Link

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Event = tuple[selectors.SelectorKey, int]

_REMEMBERED = 1024

LOOK_S = 200e-6
"""For how long a worker looks for the next packet before it sleeps, in seconds: as long as Linux guests and KVM look by default before
they halt a processor, and for the same reason. A process that sleeps on an idle core is woken 50 µs later than one that looks."""

_TAKEN_S = 300e-6
"""A look that takes longer, in seconds, has let somebody else run who has use for the core. It takes 3 µs by itself, and now and then
some 100 where others share the machine: with 20 µs here, workers hardly ever looked (hops 130 µs in place of 85)."""

_BACK_OFF_S = 0.1
"""For how long a worker looks no more after that, in seconds: where cores are scarce, looking takes them from those with work."""


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
        return self.address.startswith(("tcp:", "tls:"))

    def crosses(self, request: str, origin: str) -> None:
        """A frame of the request leaves along it."""
        self.crossed[request] = origin
        if len(self.crossed) > _REMEMBERED:
            self.crossed.popitem(last=False)


class Watch:
    """Watches connections in one selector: always for reading, and for writing while something waits to be sent."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._lively = False
        self._look_from_s = 0.0

    def wait(self, patience_s: float) -> list[Event]:
        """What has happened, with what it was registered with; waits for so many seconds at most.

        Where the last wait was short, the next one may be: then it looks before it sleeps, as long as nobody else wants the core.
        """
        if patience_s <= LOOK_S:
            return self.selector.select(patience_s)
        began_s = time.monotonic()
        events = self._look(began_s) if self._lively and began_s >= self._look_from_s else []
        if not events:
            events = self.selector.select(patience_s)
        self._lively = time.monotonic() - began_s < LOOK_S
        return events

    def _look(self, now_s: float) -> list[Event]:
        until_s = now_s + LOOK_S
        while now_s < until_s:
            events = self.selector.select(0)
            if events:
                return events
            os.sched_yield()
            before_s, now_s = now_s, time.monotonic()
            if now_s - before_s > _TAKEN_S:
                self._look_from_s = now_s + _BACK_OFF_S
                break
        return []

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
