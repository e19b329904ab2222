"""A worker of another machine, as the supervisor has it: what `synfire.deploy.process.WorkerProcess` is for one of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from synfire.deploy.process import Announcement
from synfire.wire.messages import AnyMessage, Exited, Join, Joined, Renew, Signal, Spawned

GREET_S = 10.0
"""How long a machine may take to say who it is, in seconds."""

BEGIN_S = 60.0
"""How long it may then take until its worker listens, in seconds. An import on a cold, busy machine takes some."""

CALL_S = 3.0
"""How long a worker may take to answer where it says that it listens, in seconds."""

BEAT_S = 0.5
"""How often either side of a door tells the other that it is there, in seconds."""

SILENT_S = 3.0
"""After so long without a word the other side is taken to be gone, in seconds. Calls are answered elsewhere long before: the controller
notices a machine's silence within 0.3 s, and a worker's within 1 s."""

REUNION_S = 3.0
"""How long a deployment whose processes were all killed waits, when it is begun again, for the workers that had joined it, in seconds: they
call the door several times a second. Who comes later begins with a fresh worker."""

HOLD_S = 600.0
"""How long a worker that has lost its door is held for it, in seconds: longer than a kubelet ever waits until it begins a container again."""


class JoinedWorker:
    """From when it was reached where it listens until its process has ended, or nothing is heard of its machine any more.

    `send` sends a message to who has begun it, `part` closes the link to there.
    """

    def __init__(
        self,
        wanted: Join,
        spawned: Spawned,
        joined: Joined,
        send: Callable[[AnyMessage], None],
        part: Callable[[], None],
    ) -> None:
        self.name = wanted.name
        self.agent = wanted.agent
        self.joined = joined
        self.announcement: Announcement | None = Announcement(
            self.name, spawned.pid, list(spawned.addresses), spawned.url
        )
        self._send = send
        self._part = part
        self._exited: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> bool:
        return not self._exited.done()

    async def ready(self, timeout_s: float | None) -> Announcement:
        """It is ready already."""
        assert self.announcement is not None
        return self.announcement

    async def exited(self) -> int:
        """Wait for its end; its exit code, or minus the signal's number."""
        return (await asyncio.shield(self._exited)).code

    async def obituary(self) -> str:
        """How it ended, in words, once it has."""
        return (await asyncio.shield(self._exited)).words

    def signal(self, number: signal.Signals) -> None:
        """Have its process get a signal; one that has ended gets none."""
        if self.running:
            self._send(Signal(self.name, number))

    def renew(self, successor: str) -> None:
        """Have another worker of that name begun beside it; where that cannot be, the house hears why."""
        self._send(Renew(self.name, successor))

    def terminate(self) -> None:
        """The deployment ends: its process does, too, and whoever has begun it waits for the next deployment."""
        self.signal(signal.SIGKILL)
        self.gone("the deployment has ended")

    async def end(self, grace_s: float) -> int:
        """Wait until it is gone."""
        return await self.exited()

    def ended(self, news: Exited) -> None:
        """Its process has ended."""
        if self.running:
            self._exited.set_result(news)

    def gone(self, why: str) -> None:
        """Nobody can tell any more how it does; whoever has begun it finds the link closed, and ends it when it comes again."""
        self.ended(Exited(self.name, -signal.SIGKILL, f"worker {self.name} on {self.joined.group} is gone: {why}"))
        self._part()
