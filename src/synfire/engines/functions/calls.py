"""The calls of a function: which wait, which are computed, and which are computed together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from synfire.ops import Array

TRIES = 2
"""How often a call is computed whose process ends meanwhile: the first time it may have been anybody's fault."""


@dataclass(eq=False)
class Call:
    """A call that waits, or is computed. `overdue` runs once nobody waits for it any more."""

    name: str
    arrays: Mapping[str, Array]
    tries: int = 0
    overdue: threading.Timer | None = field(default=None)


class Calls:
    """Calls in the order of their coming, of which `most` are computed at a time: one company after the other, or, where they `overlap`,
    each as soon as there is room.

    A call whose process has ended while it was computed is computed once more, alone, so that it can harm no other.
    """

    def __init__(self, most: int = 1, overlap: bool = False) -> None:
        self.most = most
        self._overlap = overlap
        self._waiting: OrderedDict[str, Call] = OrderedDict()
        self._running: dict[str, Call] = {}

    @property
    def idle(self) -> bool:
        """Whether none is computed."""
        return not self._running

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def add(self, call: Call) -> None:
        self._waiting[call.name] = call

    def begin(self) -> list[Call]:
        """The calls to be computed from now on."""
        begun: list[Call] = []
        while self._waiting and self._fits(next(iter(self._waiting.values())), bool(begun)):
            _, call = self._waiting.popitem(last=False)
            call.tries += 1
            self._running[call.name] = call
            begun.append(call)
        return begun

    def cancel(self, name: str, later: Callable[[], None], grace_s: float) -> bool:
        """Nobody waits for the call any more; whether it is computed. Then `later` is called, from a thread, unless it ends before."""
        self._waiting.pop(name, None)
        call = self._running.get(name)
        if call is None or call.overdue is not None:
            return False
        call.overdue = threading.Timer(grace_s, later)
        call.overdue.daemon = True
        call.overdue.start()
        return True

    def end(self, name: str) -> bool:
        """The call has been computed; whether somebody waits for it."""
        call = self._running.pop(name)
        if call.overdue is not None:
            call.overdue.cancel()
        return call.overdue is None

    def lost(self) -> list[str]:
        """Their process has ended: those that were computed wait again. The calls that have had all their tries, and somebody waits for."""
        failed: list[str] = []
        for name, call in reversed(list(self._running.items())):
            if not self.end(name):
                continue
            if call.tries < TRIES:
                self._waiting[name] = call
                self._waiting.move_to_end(name, last=False)
            else:
                failed.append(name)
        return failed

    def drop(self) -> list[str]:
        """Forget those that wait."""
        names = list(self._waiting)
        self._waiting.clear()
        return names

    def _fits(self, call: Call, joins: bool) -> bool:
        """Whether the call can be computed beside those that are, and that it `joins`."""
        if not self._running:
            return True
        alone = call.tries or any(each.tries > 1 for each in self._running.values())
        return not alone and (joins or self._overlap) and len(self._running) < self.most
