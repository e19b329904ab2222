"""Admission: how many calls run, how many wait, and who is refused."""

from __future__ import annotations

import asyncio
from collections import deque

from synfire.base.errors import Overloaded
from synfire.gateway.deadline import Deadline
from synfire.gateway.limits import Limits

QUEUED = "while it waited in the queue"


class Gate:
    """Lets `limits.in_flight` calls run, `limits.queued` more wait in order, and refuses the rest at once.

    A call that has entered leaves again, however it ends; one that has a place among the running ones gives it back before.
    """

    def __init__(self, model: str, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.accepted = 0
        """Calls that run or wait."""
        self.running = 0

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return self.accepted - self.running

    @property
    def full(self) -> bool:
        """Whether the next call has to wait for a place."""
        return self.running >= self._limits.in_flight

    def enter(self) -> None:
        """Count a call in. Raises `Overloaded` where too many run and wait."""
        if self.accepted >= self._limits.in_flight + self._limits.queued:
            raise Overloaded(
                f"model {self._model!r} works on {self.running} calls and {self.queued} wait (limits "
                f"in_flight={self._limits.in_flight}, queued={self._limits.queued}); retry later",
                self._limits.retry_after_s,
            )
        self.accepted += 1

    def leave(self) -> None:
        """The call has ended."""
        self.accepted -= 1

    def take(self) -> None:
        """The call runs, at a place that is free."""
        self.running += 1

    async def wait(self, deadline: Deadline) -> None:
        """Wait for a place, in the order of asking, and take it. Raises `DeadlineExceeded` when that takes too long."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            with deadline(QUEUED):
                await place
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            elif not place.cancelled():
                self.give_back()  # it was handed over just when the call was ended
            raise

    def give_back(self) -> None:
        """The call runs no more: its place is the next one's who waits, or free."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1
