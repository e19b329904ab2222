"""Admission: how many calls run, how many wait, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from synfire.base.errors import Overloaded
from synfire.gateway.deadline import Deadline
from synfire.gateway.limits import Limits

QUEUED = "while it waited in the queue"


class Gate:
    """Lets `limits.in_flight` calls run, `limits.queued` more wait in order, and refuses the rest at once."""

    def __init__(self, model: str, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.in_flight)
        self.accepted = 0
        """Calls that run or wait."""
        self.running = 0

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return self.accepted - self.running

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a call in for the block, or raise `Overloaded`."""
        if self.accepted >= self._limits.in_flight + self._limits.queued:
            raise Overloaded(
                f"model {self._model!r} works on {self.running} calls and {self.queued} wait (limits "
                f"in_flight={self._limits.in_flight}, queued={self._limits.queued}); retry later",
                self._limits.retry_after_s,
            )
        self.accepted += 1
        try:
            yield
        finally:
            self.accepted -= 1

    @asynccontextmanager
    async def slot(self, deadline: Deadline) -> AsyncIterator[None]:
        """Wait for a free place among the running calls, and hold it for the block."""
        with deadline(QUEUED):
            await self._slots.acquire()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()
