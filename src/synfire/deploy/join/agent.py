"""What runs a worker on a machine of its own, and has it join a deployment elsewhere: again and again, until it is told to leave.

A worker belongs to one membership: when the link to the door breaks, or nothing is heard along it, nobody counts on the worker any more.
It is held until the door says what is to become of it. A deployment whose processes were all killed, and that was begun again, goes on
with it and with all that it has built; any other one, also one from which it was only cut off, has it ended, and begins with a fresh one. So
nothing of an earlier membership can do harm, whoever was cut off from whom. An upgrade begins another worker beside it, with a membership of
its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from synfire.base.children import Start, spawned
from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.deploy.join.joined import BEAT_S, BEGIN_S, CALL_S, GREET_S, HOLD_S, SILENT_S
from synfire.deploy.join.pauses import Pauses
from synfire.deploy.launch import Launch
from synfire.deploy.process import Announcement, WorkerProcess
from synfire.wire.links import connect
from synfire.wire.links.address import joined as address_of
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import (
    AnyMessage,
    Beat,
    Done,
    Exited,
    Failure,
    Join,
    Joined,
    Renew,
    Signal,
    Spawned,
    Welcome,
    error_of,
    error_words,
)
from synfire.wire.stream import Packet

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Offer:
    """A worker, and how it joins: at the `door`, a host and a port, by `name`. It listens at `host`, or, where that is empty, where it
    calls the door from, and at `port`; 0 finds a free one. `http` is where it answers the Open Inference Protocol. `credential` is the
    file with the key and the certificate, `stop_s` how long it may take to leave, `kept_bytes` what its machine keeps of weights, where
    that is not the usual.
    """

    name: str
    door: tuple[str, int]
    joined: Joined
    credential: Path
    host: str = ""
    port: int = 0
    http: str = ""
    stop_s: float = 35.0
    kept_bytes: int | None = None

    @property
    def place(self) -> str:
        """The door, in words."""
        host, port = self.door
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Held:
    """A worker of a `deployment` that has lost its door, what it said when it began, and until when it is held."""

    deployment: str
    worker: WorkerProcess
    said: Announcement
    until_s: float

    @property
    def of_use(self) -> bool:
        """Whether it may go on: it lives, and has not been held for too long."""
        return self.worker.running and time.monotonic() < self.until_s


class Agent:
    """Made and used in one event loop; `run` is its life. `told` hears of each membership: the deployment, and the worker's process,
    which `begin` begins. One that is to be begun anew gets an interpreter of its own, and once it has joined `renew` is called: what
    `begin` does from then on, it does with the code that is installed now.
    """

    def __init__(
        self,
        offer: Offer,
        told: Callable[[str, Announcement], None] = lambda deployment, said: None,
        begin: Start = spawned,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self._offer = offer
        self._begin = begin
        self._renew = renew
        self._told = told
        self._id = uuid.uuid4().hex
        self._leaving = asyncio.Event()
        self._ever = False
        self._lives: dict[str, asyncio.Task[int]] = {}
        self._succeeded: set[str] = set()

    def leave(self) -> None:
        """Have the stages moved, and what the worker has accepted answered; then `run` returns."""
        self._leaving.set()

    async def run(self) -> int:
        """Be a member until told to leave; 0 when nothing that the worker had accepted is left unanswered.

        Raises `UserError` where the door refuses the worker when it comes for the first time. Later that is tried again: whatever it is
        may be mended there.
        """
        self._live(self._offer.name, self._be(self._offer))
        code = 0
        try:
            while self._lives:
                await _first(*self._lives.values())
                for name in [name for name, life in self._lives.items() if life.done()]:
                    code = max(code, self._lives.pop(name).result())
            return code
        finally:
            for life in self._lives.values():
                life.cancel()
            await asyncio.gather(*self._lives.values(), return_exceptions=True)

    def _live(self, name: str, life: Coroutine[Any, Any, int]) -> None:
        self._lives[name] = asyncio.create_task(life, name=f"worker {name}")

    async def _be(self, offer: Offer, held: Held | None = None) -> int:
        """Be a member by that name, again and again, until told to leave, or until another one has taken its place; first with what is `held`,
        where that may go on."""
        pauses, told = Pauses(), ""
        try:
            while not self._leaving.is_set():
                if held is not None and not held.of_use:
                    await _end(held, offer.stop_s)
                    held = None
                began_s = time.monotonic()
                membership = Membership(offer, self._id, self._leaving, self._member, self._succeed, self._begin, held)
                try:
                    return await membership.run()
                except SynfireError as error:
                    if isinstance(error, UserError) and not self._ever:
                        raise
                    if self._has_successor(offer.name, error):
                        return 0
                    level = logging.WARNING if told != str(error) else logging.INFO
                    LOGGER.log(level, "%s; worker %s joins again", error, offer.name)
                    told = str(error)
                finally:
                    held = membership.held
                pause_s = pauses.after(membership.answered, membership.lost, time.monotonic() - began_s)
                await _waited(self._leaving, pause_s * random.uniform(0.5, 1.0))  # not all who have lost a door at once
            return 0
        finally:
            await _end(held, offer.stop_s)

    def _member(self, deployment: str, said: Announcement) -> None:
        self._ever = True
        self._told(deployment, said)

    def _has_successor(self, name: str, error: SynfireError) -> bool:
        """Whether another worker has taken the place here of the one that has ended with this error."""
        if name in self._succeeded:
            LOGGER.warning("%s; another worker has taken its place", error)
        return name in self._succeeded

    def _succeed(self, old: Membership, successor: str) -> None:
        """Begin another worker beside that one, if that is not done already."""
        if successor not in self._lives or self._lives[successor].done():
            self._live(successor, self._take_place(old, successor))

    async def _take_place(self, old: Membership, successor: str) -> int:
        """Join by another name, in a new interpreter, and be a member from then on. Where that does not come about the door is told why,
        and the old one stays."""

        def told(deployment: str, said: Announcement) -> None:
            self._succeeded.add(old.name)
            self._renew()
            self._member(deployment, said)

        offer = replace(self._offer, name=successor)
        membership = Membership(offer, self._id, self._leaving, told, self._succeed)
        try:
            return await membership.run()
        except SynfireError as error:
            if old.name not in self._succeeded:
                LOGGER.warning("no worker takes the place of %s: %s", old.name, error)
                old.tell_of(successor, error)
                return 0
            if self._has_successor(successor, error):
                await _end(membership.held, offer.stop_s)
                return 0
            return await self._be(offer, membership.held)
        finally:
            self._succeeded.discard(old.name)


class Membership:
    """One time as a worker of a deployment, with one process: a fresh one, or what is `held` where the deployment goes on with that.
    `leaving` is set when it is to end; `told` hears when it has joined, `succeed` when another one, of that name, is to be begun beside it.

    Afterwards `held` is what lives on: the same as before where nobody has opened, or this one's process where the door was lost.
    `answered` says whether there was anybody at the door, `lost` whether the worker had joined and the door was gone then.
    """

    def __init__(
        self,
        offer: Offer,
        agent: str,
        leaving: asyncio.Event,
        told: Callable[[str, Announcement], None],
        succeed: Callable[[Membership, str], None],
        begin: Start = spawned,
        held: Held | None = None,
    ) -> None:
        self.name = offer.name
        self.held = held
        self.answered = self.lost = False
        self._begin = begin
        self._succeed = succeed
        self._offer = offer
        self._agent = agent
        self._leaving = leaving
        self._told = told
        self._link: WatchedLink | None = None
        self._worker: WorkerProcess | None = None
        self._said: Announcement | None = None
        self._dismissed = self._killed = False
        self._heard_s = 0.0
        loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[Welcome] = loop.create_future()
        self._done: asyncio.Future[Done] = loop.create_future()
        self._broken: asyncio.Future[SynfireError] = loop.create_future()

    async def run(self) -> int:
        """Join, and be a member until the worker's process has left as it was told to; its exit code.

        Raises `UserError` for what the door refuses, `TemporaryError` when the membership ends in any other way; no process is left then
        but what is held.
        """
        leaving = asyncio.create_task(self._leaving.wait(), name="to be told to leave")
        try:
            living = asyncio.create_task(self._join(), name="joining")
            await _first(living, leaving)
            if not living.done():  # it has not joined, so nothing is to be handed over
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                return 0
            living.result()
            return await self._be_member(leaving)
        finally:
            leaving.cancel()
            await self._end()

    def tell_of(self, successor: str, error: SynfireError) -> None:
        """Tell the door why no worker of that name has joined beside this one."""
        self._tell(Spawned(successor, 0, (), "", *error_words(error)))

    async def _join(self) -> None:
        offer = self._offer
        address = await _resolved(offer)
        self._link = WatchedLink(connect(address, f"the door at {offer.place}"), self._take, self._lost)
        holds = self.held.deployment if self.held is not None else ""
        self._tell(Join(offer.name, self._agent, offer.joined, offer.host, holds))
        welcome = await self._answer(self._welcome, GREET_S)
        self._said = said = await self._begun(welcome)
        self._tell(Spawned(offer.name, said.pid, tuple(said.addresses), said.http))
        await self._answer(self._done, BEGIN_S + CALL_S)
        self._told(welcome.deployment, said)

    async def _begun(self, welcome: Welcome) -> Announcement:
        """What the worker said that is to join: the held one, or else a fresh one, once that has ended."""
        held, self.held = self.held, None
        if held is not None:
            self._worker = held.worker
            if welcome.goes_on and held.of_use:
                return held.said
            await _end(held, self._offer.stop_s)
        name, command = self._offer.name, self._launch(welcome).command
        self._worker = WorkerProcess.begin(name, command, f"worker {name}", echoes=True, start=self._begin)
        return await self._worker.ready(BEGIN_S)

    def _launch(self, welcome: Welcome) -> Launch:
        offer, settings = self._offer, msgspec.json.decode(welcome.settings, type=dict[str, Any])
        settings["threads"] = max(1, offer.joined.cores - 1)
        if offer.kept_bytes is not None:
            settings["kept_bytes"] = offer.kept_bytes
        address = address_of("tls", welcome.host, offer.port)
        device = offer.joined.device or "cpu"
        return Launch(
            offer.name,
            welcome.deployment,
            address,
            offer.http,
            settings,
            device=device,
            credential=str(offer.credential),
        )

    async def _be_member(self, leaving: asyncio.Task[bool]) -> int:
        worker = self._worker
        assert worker is not None
        ended = asyncio.create_task(worker.exited(), name="the worker's end")
        keeping = asyncio.create_task(self._keep(), name="signs of life")
        try:
            await _first(ended, keeping, leaving, self._broken)
            if leaving.done() and not ended.done():
                await self._dismiss(worker, ended, keeping, self._broken)
            if not ended.done():
                self._hold(worker, leaving)
                raise self._broken.result() if self._broken.done() else keeping.result()
            code, words = ended.result(), f"{worker.title} {await worker.fate()}"
            self._tell(Exited(self._offer.name, code, words))
        finally:
            ended.cancel()
            keeping.cancel()
        if leaving.done() or (self._dismissed and code >= 0):
            return code if code >= 0 else 1
        raise TemporaryError(words)

    def _hold(self, worker: WorkerProcess, leaving: asyncio.Task[bool]) -> None:
        """The door is lost: keep the worker for it, unless that was to end anyway."""
        assert self._said is not None
        self.lost = True
        if not (leaving.done() or self._dismissed or self._killed):
            self.held = Held(self._welcome.result().deployment, worker, self._said, time.monotonic() + HOLD_S)

    async def _dismiss(self, worker: WorkerProcess, *over: asyncio.Future[Any]) -> None:
        """Have the worker leave, until one of these is done. One that does not come to an end is ended: whoever has this process end, as
        Kubernetes does, would end both a little later."""
        self._dismissed = True
        worker.terminate()
        await _first(*over, within_s=self._offer.stop_s)
        if not any(each.done() for each in over):
            LOGGER.warning("%s has not left within %g s, and is ended", worker.title, self._offer.stop_s)
            worker.kill()
            await _first(*over)

    async def _keep(self) -> SynfireError:
        """Tell the door that the worker is there, until nothing is heard of it; that, as an error."""
        while (silent_s := time.monotonic() - self._heard_s) < SILENT_S:
            self._tell(Beat())
            await asyncio.sleep(BEAT_S)
        return TemporaryError(f"nothing was heard of the door at {self._offer.place} for {silent_s:.1f} s")

    async def _end(self) -> None:
        """Nobody counts on the worker any more: it ends, if it has not, and is not held."""
        if self._worker is not None and self.held is None:
            self._worker.kill()
            await self._worker.end(self._offer.stop_s)
        if self._link is not None:
            self._link.close()

    def _take(self, packet: Packet) -> None:
        self._heard_s, self.answered = time.monotonic(), True
        message = packet.message
        if isinstance(message, Welcome) and not self._welcome.done():
            self._welcome.set_result(message)
        elif isinstance(message, Done) and not self._done.done():
            self._done.set_result(message)
        elif isinstance(message, Signal) and self._worker is not None:
            self._dismissed |= message.number == signal.SIGTERM
            self._killed |= message.number == signal.SIGKILL
            self._worker.signal(signal.Signals(message.number))
        elif isinstance(message, Renew):
            self._succeed(self, message.successor)
        elif isinstance(message, Failure):
            raise error_of(message)

    def _lost(self, error: SynfireError) -> None:
        if not self._broken.done():
            self._broken.set_result(error)

    async def _answer(self, answer: asyncio.Future[Answer], within_s: float) -> Answer:
        """What the door says. Raises what it says in place of it, and `TemporaryError` where it says nothing."""
        await _first(answer, self._broken, within_s=within_s)
        if answer.done():
            return answer.result()
        if self._broken.done():
            raise self._broken.result()
        raise TemporaryError(f"the door at {self._offer.place} does not answer within {within_s:g} s")

    def _tell(self, message: AnyMessage) -> None:
        if self._link is not None:
            self._link.tell(Packet(message))


async def _end(held: Held | None, stop_s: float) -> None:
    """Have what is held end, where anything is, since nobody goes on with it."""
    if held is not None:
        held.worker.kill()
        await held.worker.end(stop_s)


async def _resolved(offer: Offer) -> str:
    """The door's address. Raises `TemporaryError` for a name that nobody knows now."""
    host, port = offer.door
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TemporaryError(f"nobody knows a host of the name {host!r}: {error.strerror or error}") from error
    return address_of("tls", str(found[0][4][0]), port)


async def _first(*futures: asyncio.Future[Any], within_s: float | None = None) -> None:
    """Wait until one of them is done, or for so long."""
    await asyncio.wait(futures, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)


async def _waited(event: asyncio.Event, for_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), for_s)
    except TimeoutError:
        return
