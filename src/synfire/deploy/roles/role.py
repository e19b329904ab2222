"""The controller, or a gateway: one process after the other, and what is recorded of the time in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.control.state import Recovery
from synfire.deploy.process import ChildProcess

PAUSES_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""How long to wait before a process is started again that died: the more often it died young, the longer."""

YOUNG_S = 10.0


class Role:
    """A process that is begun again whenever it dies. Made in an event loop.

    `begin` starts a process, `serves` returns when one is of use. `record` is given each outage when it is over: it was
    detected when the process had died, adopted when another one had been begun, verified when that served.
    """

    keeping: asyncio.Task[None] | None = None

    def __init__(
        self,
        name: str,
        begin: Callable[[], ChildProcess],
        serves: Callable[[ChildProcess], Awaitable[object]],
        record: Callable[[Recovery], object],
    ) -> None:
        self.name = name
        self.process = begin()
        self._begin = begin
        self._serves = serves
        self._record = record
        self._now_s = SystemClock().now_s
        self._begun_s = self._now_s()
        self._young = 0
        self._outage: Recovery | None = None
        self._serving: asyncio.Task[None] | None = None

    async def lose(self) -> float:
        """The process has died; how long to wait, in seconds, before another one is begun."""
        fate, now_s = await self.process.fate(), self._now_s()
        LOGGER.warning("%s (process %d) %s; it is started again", self.name, self.process.pid, fate)
        if self._serving is not None:
            self._serving.cancel()
        self._outage = self._told(self._outage or self._lost(now_s), f"process {self.process.pid} {fate}")
        self._young = min(self._young + 1, len(PAUSES_S) - 1) if now_s - self._begun_s < YOUNG_S else 0
        return PAUSES_S[self._young]

    def begin_again(self) -> None:
        """Begin another process. The outage is over when it serves; if it dies before, that is the same outage."""
        self.process, self._begun_s = self._begin(), self._now_s()
        if self._outage is not None:
            ended_s = {**self._outage.ended_s, "adopt": self._begun_s}
            self._serving = asyncio.create_task(self._served(replace(self._outage, ended_s=ended_s)))

    def give_up(self) -> None:
        """No other process follows: an outage that lasts is over with the deployment."""
        if self._serving is not None:
            self._serving.cancel()
        if self._outage is not None:
            why = f"the deployment was ended before another {self.name} served"
            self._record(replace(self._outage, failures=(why,)))

    async def _served(self, outage: Recovery) -> None:
        with contextlib.suppress(SynfireError):  # it has died, too, or refuses: then it will
            await self._serves(self.process)
            self._outage = None
            ended_s = {**outage.ended_s, "verify": self._now_s()}
            self._record(
                self._told(replace(outage, ended_s=ended_s), f"process {self.process.pid} serves in its place")
            )

    def _lost(self, now_s: float) -> Recovery:
        cause = f"{self.name.partition('-')[0]} lost"
        return Recovery(0, cause, self.name, now_s, now_s, (), (), ended_s={"detect": now_s})

    @staticmethod
    def _told(outage: Recovery, words: str) -> Recovery:
        return replace(outage, detail=f"{outage.detail}; {words}" if outage.detail else words)
