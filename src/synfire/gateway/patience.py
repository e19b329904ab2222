"""Tells what takes longer than it should, by one timer for all of it."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from synfire.base.clock import Clock, SystemClock


class Awaited(Protocol):
    """What is told when it has taken too long."""

    def overdue(self) -> None: ...


class Patience:
    """Waits for many at a time, of which few ever take too long: to begin and to end is an entry in a dict each, where a timer for
    each would be made and thrown away with every call. Made and used in one event loop.

    Who has waited for too long is told up to `grain_s` late, and never early: no two looks are nearer to each other. The time is the
    `clock`'s, since that of an event loop may be the one at which its turn began.
    """

    def __init__(self, grain_s: float = 0.001, clock: Clock | None = None) -> None:
        self._grain_s = grain_s
        self._clock = clock or SystemClock()
        self._due_s: dict[Awaited, float] = {}
        self._look_s = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, who: Awaited, after_s: float) -> None:
        """Tell `who` in so many seconds, unless it ends before. One that had begun begins anew."""
        now_s = self._clock.now_s()
        self._due_s[who] = due_s = now_s + after_s
        if due_s < self._look_s:
            self._look_at(due_s, now_s)

    def end(self, who: Awaited) -> None:
        """It is done. One that had not begun, or was told, is no error."""
        self._due_s.pop(who, None)

    def _look_at(self, look_s: float, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look_s = look_s
        self._timer = asyncio.get_running_loop().call_later(max(0.0, look_s - now_s), self._look)

    def _look(self) -> None:
        now_s = self._clock.now_s()
        self._timer, self._look_s = None, math.inf
        late = [who for who, due_s in self._due_s.items() if due_s <= now_s]
        for who in late:
            del self._due_s[who]
        if self._due_s:
            self._look_at(max(min(self._due_s.values()), now_s + self._grain_s), now_s)
        for who in late:
            who.overdue()
