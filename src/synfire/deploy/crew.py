"""Worker processes that the supervisor starts at the controller's word: they outlive the controller, and end with the supervisor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping

import msgspec

from synfire.base.errors import SynfireError, TemporaryError
from synfire.base.processes import born, starved
from synfire.deploy.launch import Launch
from synfire.deploy.process import Announcement
from synfire.wire.links import Link
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import AnyMessage, Crew, Exited, Joined, Recorded, Renew, Signal, Spawn, Spawned, error_of
from synfire.wire.stream import Packet

RENEW_S = 90.0
"""How long a worker may take to be begun on another machine, and to join, in seconds: longer than the door there waits for it."""


class CrewProcess:
    """A worker's process; what `synfire.deploy.process.WorkerProcess` is to a deployment that starts its workers itself.

    One that has `joined` runs on another machine, where nobody here can look.
    """

    def __init__(self, name: str, send: Callable[[AnyMessage], None], joined: Joined | None = None) -> None:
        self.name = name
        self.joined = joined
        self._send = send
        self._born = ""
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Announcement | SynfireError] = loop.create_future()
        self._exited: asyncio.Future[Exited] = loop.create_future()

    @property
    def pid(self) -> int:
        """0 until it is ready."""
        said = self._ready.result() if self._ready.done() else None
        return said.pid if isinstance(said, Announcement) else 0

    @property
    def is_ready(self) -> bool:
        """Whether the worker is known to be ready."""
        return self.pid > 0

    @property
    def running(self) -> bool:
        return not self._exited.done()

    @property
    def ended(self) -> bool:
        """Whether the process has ended, also where the supervisor has not told yet."""
        return not self.running or (self.joined is None and self.pid > 0 and born(self.pid) != self._born)

    @property
    def starved(self) -> bool | None:
        """Whether it is kept from a processor, and not hanging; None of one that has joined: nobody here can see it."""
        return None if self.joined is not None else self.pid > 0 and starved(self.pid)

    async def ready(self, timeout_s: float) -> Announcement:
        """Wait until the worker is ready. Raises what the supervisor was told in place of that."""
        try:
            said = await asyncio.wait_for(asyncio.shield(self._ready), timeout_s)
        except TimeoutError:
            raise TemporaryError(f"worker {self.name} was not ready within {timeout_s} s; try again") from None
        if isinstance(said, SynfireError):
            raise said
        return said

    async def exited(self) -> int:
        """Wait for the end of the process; its exit code, or minus the signal's number."""
        return (await asyncio.shield(self._exited)).code

    async def obituary(self) -> str:
        """How the process ended, in words, once it has."""
        return (await asyncio.shield(self._exited)).words

    def terminate(self) -> None:
        """Ask the process to drain and leave."""
        self._send(Signal(self.name, signal.SIGTERM))

    def kill(self) -> None:
        """End the process at once."""
        self._send(Signal(self.name, signal.SIGKILL))

    async def end(self, grace_s: float) -> int:
        """Wait for the process to leave; kill it when it is still there after `grace_s`."""
        try:
            return await asyncio.wait_for(self.exited(), grace_s)
        except TimeoutError:
            self.kill()
            return await self.exited()

    def hear(self, message: Spawned | Exited) -> None:
        """The supervisor tells of it."""
        if isinstance(message, Exited):
            if not self._exited.done():
                self._exited.set_result(message)
        elif not self._ready.done():
            self._born = born(message.pid)
            said = Announcement(self.name, message.pid, list(message.addresses), message.url)
            self._ready.set_result(error_of(message) if message.kind else said)


class RemoteCrew:
    """The controller's end of its link to the supervisor, who holds all worker processes; `lost` is called when that is gone."""

    def __init__(self, link: Link, lost: Callable[[SynfireError], None]) -> None:
        self.processes: dict[str, CrewProcess] = {}
        self._link = WatchedLink(link, self._take, lost)
        self._told = asyncio.Event()
        self._recorded: Callable[[Recorded], None] = lambda news: None
        self._arrived: Callable[[CrewProcess], None] = lambda process: None

    def start(self, launch: Launch) -> CrewProcess:
        """Have a worker started, if it does not run already; see `synfire.deploy.process.WorkerProcess.start`."""
        name, settings = launch.name, msgspec.json.encode(dict(launch.settings))
        process = self.processes.get(name)
        if process is None or not process.running:
            process = self.processes[name] = CrewProcess(name, self.send)
        self.send(Spawn(name, launch.address, launch.http, settings, launch.inside, launch.device, launch.anew))
        return process

    async def renew(self, name: str, successor: str) -> None:
        """Have another worker begun beside one that has joined, by those who have begun that one; return when it has joined. Raises what they
        say where it cannot, and `TemporaryError` where that takes too long. One that is there already is not begun again."""
        process = self.processes.get(successor)
        if process is not None and process.is_ready and process.running:
            return
        process = self.processes[successor] = CrewProcess(successor, self.send)
        self.send(Renew(name, successor))
        try:
            await process.ready(RENEW_S)
        except BaseException:
            if self.processes.get(successor) is process:
                del self.processes[successor]
            raise

    def renew_all(self) -> None:
        """Have all that is begun later begun with the code that is installed now."""
        self.send(Renew())

    async def known(self) -> Mapping[str, CrewProcess]:
        """The workers that run already, once the supervisor has told which these are."""
        await self._told.wait()
        return dict(self.processes)

    def send(self, message: AnyMessage) -> None:
        """Tell the supervisor; when that is gone, this process ends too."""
        self._link.tell(Packet(message))

    def on_recorded(self, act: Callable[[Recorded], None]) -> None:
        """Call `act` when the supervisor has recorded a loss that it has made good itself."""
        self._recorded = act

    def on_arrived(self, act: Callable[[CrewProcess], None]) -> None:
        """Call `act` with each worker of another machine that joins from now on."""
        self._arrived = act

    def close(self) -> None:
        self._link.close()

    def _take(self, packet: Packet) -> None:
        message = packet.message
        if isinstance(message, Crew):
            for spawned in message.workers:
                process = self.processes.get(spawned.name)
                if process is None:  # else somebody here waits for it already
                    process = self.processes[spawned.name] = CrewProcess(spawned.name, self.send, spawned.joined)
                if spawned.pid:
                    process.hear(spawned)
            self._told.set()
        elif isinstance(message, Spawned) and message.joined is not None:
            awaited = self.processes.get(message.name)
            process = self.processes[message.name] = CrewProcess(message.name, self.send, message.joined)
            process.hear(message)
            self._arrived(process)
            if awaited is not None:
                awaited.hear(message)
        elif isinstance(message, (Spawned, Exited)) and message.name in self.processes:
            self.processes[message.name].hear(message)
        elif isinstance(message, Recorded):
            self._recorded(message)
