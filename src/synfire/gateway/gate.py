"""Admission: how many calls run, how many wait, and who is refused."""

from __future__ import annotations

import asyncio
from types import TracebackType

from synfire.base.errors import Overloaded
from synfire.gateway.deadline import Deadline
from synfire.gateway.limits import Limits

QUEUED = "while it waited in the queue"


class Gate:
    """Lets `limits.in_flight` calls run, `limits.queued` more wait in order, and refuses the rest at once.

    `with gate:` counts a call in for the block, or raises `Overloaded`; `async with gate.slot(deadline):` within it waits for a
    place among the running ones.
    """

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

    def __enter__(self) -> None:
        if self.accepted >= self._limits.in_flight + self._limits.queued:
            raise Overloaded(
                f"model {self._model!r} works on {self.running} calls and {self.queued} wait (limits "
                f"in_flight={self._limits.in_flight}, queued={self._limits.queued}); retry later",
                self._limits.retry_after_s,
            )
        self.accepted += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.accepted -= 1

    def slot(self, deadline: Deadline) -> Slot:
        """A free place among the running calls, to wait for, and to hold for a block."""
        return Slot(self, deadline)

    async def take(self, deadline: Deadline) -> None:
        """Wait for a place. Raises `DeadlineExceeded` when that takes too long."""
        if self._slots.locked():
            with deadline(QUEUED):
                await self._slots.acquire()
        else:
            await self._slots.acquire()  # without a turn of the event loop: there is room
        self.running += 1

    def give_back(self) -> None:
        """The call runs no more."""
        self.running -= 1
        self._slots.release()


class Slot:
    """A place among a gate's running calls, for a block."""

    __slots__ = ("_deadline", "_gate")

    def __init__(self, gate: Gate, deadline: Deadline) -> None:
        self._gate = gate
        self._deadline = deadline

    async def __aenter__(self) -> None:
        await self._gate.take(self._deadline)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.give_back()
