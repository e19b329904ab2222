"""A simulated machine's controller and gateways: the real code of their processes, each a `Life` that may be killed.

The supervisor, which never dies here, begins them as it would begin real ones. What it holds of them (ports, lifelines, their
ends) is simulated, as are their listening sockets, stores and catalog.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import msgspec

from synfire.base.errors import PermanentError
from synfire.deploy.process import Announcement
from synfire.deploy.roles import controller, gateway
from synfire.deploy.roles.told import ControllerTold, GatewayTold
from synfire.gateway.addresses import Addresses
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.request import Answer, Request
from synfire.testing.simulation.loop import Life
from synfire.testing.simulation.network import Network, SimulatedLink

START_S = (0.2, 0.8)
"""How long a controller or gateway takes to start, in virtual seconds: from, to."""

LIVES: dict[str, tuple[type, Callable[[Any], Coroutine[Any, Any, None]]]] = {
    controller.__name__: (ControllerTold, controller.control),
    gateway.__name__: (GatewayTold, gateway.serve),
}
"""What each module does as a process, and what it is told."""


class Broken(ConnectionError):
    """What a caller sees whose gateway dies before it has answered."""


class Machine:
    """Begins processes; `children` are the latest of each name, and `doors` the gateways that take calls."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.children: dict[str, SimulatedChild] = {}
        self.doors: dict[str, SimulatedServer] = {}
        self.lives: list[Life] = []
        self._by_descriptor: dict[int, SimulatedChild] = {}

    def begin(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        title: str = "",
        keeps: Sequence[int] = (),
        echoes: bool = False,
        start: object = None,
    ) -> SimulatedChild:
        """Begin a process; see `synfire.deploy.process.ChildProcess.begin`."""
        ours, theirs = self.network.pair("supervisor", name)
        _, _, module, told = command(theirs.fileno())
        child = self.children[name] = SimulatedChild(self, name, ours)
        self.lives.append(child.life)
        self._by_descriptor[theirs.fileno()] = child
        kind, live = LIVES[module]
        starts_s = self.network.between(*START_S)
        self.network.loop.later(starts_s, child.begin, live, msgspec.json.decode(told, type=kind))
        return child

    def lifeline(self, fileno: int) -> SimpleNamespace:
        """A gateway's end of its lifeline, as a socket."""
        child = self._by_descriptor[fileno]
        return SimpleNamespace(setblocking=lambda on: None, sendall=child.hear, fileno=lambda: fileno)

    def born(self, pid: int) -> str:
        """What `synfire.base.processes.born` says of a worker."""
        return next((each.name for each in self.network.processes if each.pid == pid and not each.ended), "")


class SimulatedChild:
    """A process as the supervisor sees it; what `synfire.deploy.process.ChildProcess` is on a real machine."""

    def __init__(self, machine: Machine, name: str, link: SimulatedLink) -> None:
        self.name = name
        self.life = Life(name)
        self.pid = next(machine.network.numbers)
        self.lifeline = SimpleNamespace(dup=lambda: link, close=link.close)
        self.ended = machine.network.loop.create_future()
        self._machine = machine
        self._network = machine.network
        self._said: asyncio.Future[Announcement] = machine.network.loop.create_future()
        self._noticed: asyncio.Future[int] = machine.network.loop.create_future()

    def begin(self, live: Callable[[Any], Coroutine[Any, Any, None]], told: Any) -> None:
        """It has started: its own code runs from now on."""
        if not self.life.over:
            self._network.tell(self.name, "begins")
            main = self.life.run(lambda: self._network.loop.create_task(live(told), name=self.name))
            main.add_done_callback(self._left)

    def hear(self, line: bytes) -> None:
        """It announces itself, or says why it will not be of use."""
        said = msgspec.json.decode(line, type=Announcement)
        self._network.tell(self.name, f"refuses: {said.text}" if said.kind else "serves")
        self._said.set_result(said)

    async def ready(self, timeout_s: float | None) -> Announcement:
        news: list[asyncio.Future[Any]] = [self._said, self._noticed]
        await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
        if self._noticed.done() or self._said.result().kind:
            raise PermanentError(await self.obituary())
        return self._said.result()

    async def exited(self) -> int:
        return await asyncio.shield(self._noticed)

    async def fate(self) -> str:
        code = await self.exited()
        return "was killed by SIGKILL" if code < 0 else f"left with exit code {code}"

    async def obituary(self) -> str:
        return f"{self.name} {await self.fate()}"

    def terminate(self) -> None:
        """SIGTERM; one that does not take it yet ends of it."""
        self._network.loop.later(self._network.notice_s(), self._terminated)

    async def end(self, grace_s: float) -> int:
        try:
            return await asyncio.wait_for(self.exited(), grace_s)
        except TimeoutError:
            self.die(-9)
            return await self.exited()
        finally:
            self.lifeline.close()

    def die(self, code: int) -> None:
        """The process is no more: whoever is connected to it notices, and so does the supervisor."""
        if self.life.over:
            return
        self.life.end()
        self._network.tell(self.name, "is dead" if code else "has left")
        self._machine.doors.pop(self.name, None)
        self.ended.set_result(None)
        self._network.lose_ends(self.name)
        self._network.loop.later(self._network.notice_s(), self._noticed.set_result, code)

    def _terminated(self) -> None:
        self.life.signals.get(signal.SIGTERM, lambda: self.die(-15))()

    def _left(self, main: asyncio.Task[None]) -> None:
        if main.cancelled() or (error := main.exception()) is None:
            self._network.loop.outside(self.die, 0)
        else:
            self._network.loop.call_exception_handler({"message": f"{self.name} failed", "exception": error})


class SimulatedServer:
    """A gateway's door for callers; what `synfire.gateway.server.Server` is on a real machine."""

    def __init__(self, machine: Machine, plane: DataPlane, *_: object) -> None:
        life = Life.here()
        assert life is not None
        self.plane = plane
        self.child = machine.children[life.name]
        self._machine = machine

    async def start(self) -> Addresses:
        """Take calls from now on."""
        self._machine.doors[self.child.name] = self
        return Addresses("http://simulated", "", "")

    async def stop(self) -> None:
        """Answer what was accepted."""
        self._machine.doors.pop(self.child.name, None)
        await self.plane.drain()

    async def parts(self, request: Request, streamed: bool) -> AsyncGenerator[Answer, None]:
        """What a caller gets, who may leave at any time. Raises `Broken` when the gateway dies."""
        loop, ended = self._machine.network.loop, self.child.ended
        if ended.done():
            raise Broken(f"{self.child.name} is gone")
        answers: asyncio.Queue[Answer | Exception | None] = asyncio.Queue()
        answering = self.child.life.run(lambda: loop.create_task(self._answer(request, streamed, answers)))
        ended.add_done_callback(broke := lambda _: answers.put_nowait(Broken(f"{self.child.name} is gone")))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            ended.remove_done_callback(broke)
            if not answering.done():
                loop.later(self._machine.network.notice_s(), answering.cancel)

    async def _answer(
        self, request: Request, streamed: bool, answers: asyncio.Queue[Answer | Exception | None]
    ) -> None:
        try:
            if not streamed:
                answers.put_nowait(await self.plane.infer(request))
            else:
                async with aclosing(self.plane.stream(request)) as parts:
                    async for part in parts:
                        answers.put_nowait(part)
            answers.put_nowait(None)
        except Exception as error:
            answers.put_nowait(error)


class SimulatedPorts:
    """What `synfire.deploy.roles.ports.Ports` is on a real machine."""

    host, grpc_port, addresses = "simulated", None, Addresses("http://simulated", "", "")

    def __init__(self, listening: object, gateways: int) -> None: ...

    def of(self, gateway: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(fileno=lambda: -1)]

    def url(self, listening: object) -> str:
        return "http://simulated"

    def close(self) -> None: ...
