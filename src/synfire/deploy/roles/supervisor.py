"""The root of a served deployment's processes: it starts the controller, gateways and workers, brings the first two back when they
die, and ends them all. It decides nothing, and knows no model."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from synfire.base.children import Start, spawned
from synfire.base.errors import PermanentError, SynfireError, TemporaryError
from synfire.base.log import LOGGER
from synfire.control.record import RecoveryLog
from synfire.control.state import Recovery
from synfire.deploy.door import NAME
from synfire.deploy.join.door import JoinDoor
from synfire.deploy.join.joined import REUNION_S, JoinedWorker
from synfire.deploy.launch import Launch
from synfire.deploy.listening import Listening
from synfire.deploy.process import Announcement, ChildProcess, WorkerProcess
from synfire.deploy.recoveries import dated, tell
from synfire.deploy.remains import Remains
from synfire.deploy.roles.ports import Ports
from synfire.deploy.roles.role import Role
from synfire.deploy.roles.told import ControllerTold, GatewayTold, Told
from synfire.deploy.settings import Settings
from synfire.gateway.addresses import Addresses
from synfire.wire.links import SocketLink, unlink
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import (
    AnyMessage,
    Crew,
    Done,
    Exited,
    Recorded,
    Renew,
    Signal,
    Spawn,
    Spawned,
    Standing,
    error_of,
    error_words,
)
from synfire.wire.recovery import RecoveryRecord
from synfire.wire.stream import Packet

CONTROLLER = "controller"

DRAIN_S = 70.0
"""How long a gateway may take to answer what it has accepted: the longest deadline, and some."""

LEAVE_S = 5.0
"""How long a controller may take to leave."""

AGAIN_S = 1.0
"""When a record that could not be written, on a full disk for instance, is tried again."""


class Supervisor:
    """The processes of one deployment, between `start` and `stop`. `folder` is for sockets and blobs; `begin` begins a process; `chains`
    are the digests of those that gateways serve from the beginning. With the key and the certificate in the file `credential`, workers of other machines
    are let in at the `door`. `renew` has `begin` begin what comes later with the code that is installed now. It goes on with what `remains` of the
    same deployment, whose processes were all killed.

    `standing` is the controller's latest news; who follows with `on_change` is told of it, and of processes that come and go.
    """

    def __init__(
        self,
        deployment: str,
        folder: Path,
        settings: Settings,
        listening: Listening,
        gateways: int = 1,
        begin: Start = spawned,
        chains: Sequence[str] = (),
        credential: Path | None = None,
        renew: Callable[[], None] = lambda: None,
        remains: Remains | None = None,
    ) -> None:
        self.deployment = deployment
        self.workers: dict[str, WorkerProcess | JoinedWorker] = {}
        self.door = JoinDoor(settings.join, self, msgspec.json.encode(settings.of_workers)) if settings.join else None
        self._credential = str(credential) if credential is not None else ""
        self.roles: dict[str, Role] = {}
        self.standing = Standing()
        self._folder = folder
        self._settings = settings
        self._listening = listening
        self._count = gateways
        self._begin = begin
        self._renew = renew
        self._chains = tuple(chains)
        self._ports: Ports | None = None
        self._link: WatchedLink | None = None
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._warm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed: Callable[[], object] = lambda: None
        self._stopping = asyncio.Event()
        self._stands = asyncio.Event()
        before = remains.controllers if remains is not None else 0
        self._controllers, self._numbers = itertools.count(before), itertools.count(before + 1)
        self._missing = set(remains.joined) if remains is not None else set()
        self._reunited = asyncio.Event()
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def urls(self) -> dict[str, str]:
        """Where each gateway, and no other, answers."""
        ports = self._ports
        return {f"gateway-{n}": ports.url(ports.of(n)[-1]) for n in range(self._count)} if ports else {}

    def on_change(self, act: Callable[[], object]) -> None:
        """Call `act` when a process has come or gone, or there is news of the controller."""
        self._changed = act

    async def start(self, first: Mapping[str, str]) -> Addresses:
        """Start everything, and return when every model is served and the spares are prepared. `first` are the workers, with their
        devices, that the controller will want at once: they start beside it.

        Raises what the user has to know when it cannot be: a port that is taken, a worker that does not start, a stage that is
        refused.
        """
        self._ports = Ports(self._listening, self._count)
        if self.door is not None:
            self.door.open()
        given = msgspec.json.encode(self._settings.of_workers)
        for name, device in first.items():
            self._spawn(Spawn(name, f"unix:{self._folder / name}.sock", self._settings.http, given, device=device))
        await self._reunite()
        self._begin_role(CONTROLLER, self._begin_controller, lambda _: self._stands.wait())
        for number in range(self._count):
            begin = partial(self._begin_gateway, number)
            self._begin_role(f"gateway-{number}", begin, lambda process: process.ready(None))
        gateways = [role.process for name, role in self.roles.items() if name != CONTROLLER]
        await self._warm
        await asyncio.gather(*(each.ready(self._settings.ready_s) for each in gateways))
        return self._ports.addresses

    async def stop(self) -> None:
        """Let the gateways answer what they have accepted, then end everything. Stopping twice is no error."""
        self._stopping.set()
        controller = [role for name, role in self.roles.items() if name == CONTROLLER]
        await self._end([role for name, role in self.roles.items() if name != CONTROLLER], DRAIN_S)
        await self._end(controller, LEAVE_S)
        await asyncio.gather(*self._writing)
        if self._link is not None:
            self._link.close()
        if self.door is not None:
            self.door.close()
        workers = list(self.workers.values())
        for worker in workers:
            worker.terminate()
        await asyncio.gather(*(worker.end(self._settings.stop_s) for worker in workers))
        await asyncio.gather(*self._watching.values())
        unlink(f"unix:{self._folder / NAME}")
        if self._ports is not None:
            self._ports.close()
        if not self._warm.done():
            self._warm.cancel()

    async def _reunite(self) -> None:
        """Wait until the workers that had joined before are back, but not for long; a controller that is begun after that misses the others,
        and has them replaced."""
        if self._missing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reunited.wait(), REUNION_S)
        if self._missing:
            LOGGER.warning("not back in time, and replaced: %s", ", ".join(sorted(self._missing)))
        self._missing.clear()

    async def _end(self, roles: Sequence[Role], grace_s: float) -> None:
        for role in roles:
            role.process.terminate()
        await asyncio.gather(*(role.process.end(grace_s) for role in roles))
        await asyncio.gather(*(role.keeping for role in roles if role.keeping is not None))

    def _begin_role(
        self, name: str, begin: Callable[[], ChildProcess], serves: Callable[[ChildProcess], Awaitable[object]]
    ) -> None:
        role = self.roles[name] = Role(name, begin, serves, self._record)
        role.keeping = asyncio.create_task(self._keep(role), name=f"keep {name}")

    async def _keep(self, role: Role) -> None:
        """Bring the process back whenever it dies, until the end."""
        while True:
            code = await role.process.exited()
            if self._stopping.is_set():
                break
            if not self._warm.done() and code >= 0:
                self._warm.set_exception(PermanentError(await role.process.obituary()))
                return
            await asyncio.sleep(await role.lose())
            if self._stopping.is_set():
                break
            role.begin_again()
            self._changed()
        role.give_up()

    def _record(self, outage: Recovery) -> None:
        """A controller or a gateway has died, and another one serves, or never will."""
        number = next(self._numbers)
        record = dated(replace(outage, id=number), self.deployment)
        record = msgspec.structs.replace(record, id=f"{self.deployment}-{outage.lost}-{number}")
        tell(record)
        writing = asyncio.create_task(self._write(record), name=f"record {record.id}")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def _write(self, record: RecoveryRecord) -> None:
        """Write it down as soon as that can be, and have the controller count it."""
        while True:
            try:
                await asyncio.to_thread(RecoveryLog().append, record)
                break
            except SynfireError as error:
                LOGGER.error("the record of %s cannot be written: %s", record.cause, error)
                if self._stopping.is_set():
                    return
                await asyncio.sleep(AGAIN_S)
        self._tell(Recorded(record.id, record.cause.kind, record.outcome))

    def _begin_controller(self) -> ChildProcess:
        before = next(self._controllers)

        def command(lifeline: int) -> list[str]:
            told = ControllerTold(
                deployment=self.deployment,
                folder=str(self._folder),
                lifeline=lifeline,
                gateways=self._count,
                owner=os.getpid(),
                before=before,
                chains=self._chains,
                credential=self._credential,
            )
            return _command(CONTROLLER, told)

        process = ChildProcess.begin(CONTROLLER, command, echoes=True, start=self._begin)
        if self._link is not None:
            self._link.close()
        self._stands.clear()
        self._link = WatchedLink(
            SocketLink(process.lifeline.dup(), CONTROLLER), self._take, lambda error: LOGGER.info("%s", error)
        )
        self._tell(Crew(tuple(_spawned(each) for each in self.workers.values())))
        return process

    def _begin_gateway(self, number: int) -> ChildProcess:
        assert self._ports is not None
        ports, sockets = self._ports, tuple(each.fileno() for each in self._ports.of(number))

        def command(lifeline: int) -> list[str]:
            told = GatewayTold(
                deployment=self.deployment,
                folder=str(self._folder),
                lifeline=lifeline,
                name=f"gateway-{number}",
                names=tuple(f"gateway-{n}" for n in range(self._count)),
                controller=f"unix:{self._folder / NAME}",
                host=ports.host,
                grpc_port=ports.grpc_port,
                sockets=sockets,
                store=self._settings.store is not None,
                chains=self._chains,
                credential=self._credential,
            )
            return _command("gateway", told)

        return ChildProcess.begin(f"gateway-{number}", command, keeps=sockets, echoes=True, start=self._begin)

    def _take(self, packet: Packet) -> None:
        """The controller wants something, or has news."""
        message = packet.message
        if isinstance(message, Spawn):
            self._spawn(message)
        elif isinstance(message, Signal) and message.name in self.workers:
            self.workers[message.name].signal(signal.Signals(message.number))
        elif isinstance(message, Renew):
            self._begin_anew(message)
        elif isinstance(message, Standing):
            self.standing = message
            self._stands.set()
            if message.warm and not self._warm.done():
                self._warm.set_result(None)
            self._changed()
        elif isinstance(message, Done) and not self._warm.done():
            self._warm.set_exception(error_of(message))
        elif isinstance(message, Done):  # it could not take over, perhaps on a full disk; the next one tries again
            self.roles[CONTROLLER].process.terminate()

    def _tell(self, message: AnyMessage) -> None:
        if self._link is not None:
            self._link.tell(Packet(message))

    def _spawn(self, wanted: Spawn) -> None:
        worker = self.workers.get(wanted.name)
        if worker is not None:
            if worker.announcement is not None:
                self._tell(_spawned(worker))
            return
        try:
            worker = WorkerProcess.start(self._launch(wanted), spawned if wanted.anew else self._begin)
        except TemporaryError as error:
            self._tell(Spawned(wanted.name, 0, (), "", *error_words(error)))
            return
        self.workers[wanted.name] = worker
        self._watching[wanted.name] = asyncio.create_task(self._watch(worker), name=f"watch {wanted.name}")

    def _begin_anew(self, wanted: Renew) -> None:
        """Begin all that comes later with the code that is installed now; or have a worker of another machine succeeded there."""
        worker = self.workers.get(wanted.name)
        if not wanted.name:
            self._renew()
        elif isinstance(worker, JoinedWorker) and worker.running:
            worker.renew(wanted.successor)
        else:
            gone = TemporaryError(f"worker {wanted.name} is gone; see what runs now")
            self.missed(Spawned(wanted.successor, 0, (), "", *error_words(gone)))

    def taken(self, name: str) -> str | None:
        """Who has that name, see `synfire.deploy.join.door.House`."""
        worker = self.workers.get(name)
        return None if worker is None else worker.agent if isinstance(worker, JoinedWorker) else ""

    async def part(self, name: str) -> None:
        """Take the worker of that name, which has joined, to be gone; one that is not there is no error."""
        worker = self.workers.get(name)
        if isinstance(worker, JoinedWorker):
            worker.gone("it has come anew")
            await asyncio.shield(self._watching[name])

    def awaits(self, name: str) -> bool:
        """Whether a worker that had joined before is still waited for, see `synfire.deploy.join.door.House`."""
        return name in self._missing

    def welcome(self, worker: JoinedWorker) -> None:
        """A worker of another machine has joined."""
        self._missing.discard(worker.name)
        if not self._missing:
            self._reunited.set()
        self.workers[worker.name] = worker
        self._watching[worker.name] = asyncio.create_task(self._watch(worker), name=f"watch {worker.name}")

    def missed(self, news: Spawned) -> None:
        """A worker that was to take another one's place has not joined."""
        self._tell(news)

    def _launch(self, wanted: Spawn) -> Launch:
        outer = f"tls://{self._settings.join.rpartition(':')[0]}:0" if self.door is not None else ""
        return Launch(
            wanted.name,
            self.deployment,
            wanted.address,
            wanted.http,
            msgspec.json.decode(wanted.settings),
            wanted.inside,
            wanted.device,
            outer,
            self._credential if outer else "",
        )

    async def _watch(self, worker: WorkerProcess | JoinedWorker) -> None:
        """Tell the controller when the worker is ready, and when it has ended."""
        try:
            await worker.ready(self._settings.ready_s)
            self._tell(_spawned(worker))
            self._changed()
        except SynfireError as error:
            self._tell(Spawned(worker.name, 0, (), "", *error_words(error)))
            worker.terminate()
            await worker.end(self._settings.stop_s)
        code, words = await worker.exited(), await worker.obituary()
        if worker.announcement is not None:
            for address in worker.announcement.addresses:
                unlink(address)
        del self.workers[worker.name]
        if not self._stopping.is_set():
            del self._watching[worker.name]
            self._tell(Exited(worker.name, code, words))
            self._changed()


def _spawned(worker: WorkerProcess | JoinedWorker) -> Spawned:
    said = worker.announcement or Announcement(worker.name, 0)
    joined = worker.joined if isinstance(worker, JoinedWorker) else None
    return Spawned(said.name, said.pid, tuple(said.addresses), said.http, joined=joined)


def _command(role: str, told: Told) -> list[str]:
    return [sys.executable, "-m", f"synfire.deploy.roles.{role}", msgspec.json.encode(told).decode()]
