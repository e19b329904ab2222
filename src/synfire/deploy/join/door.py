"""The door at which workers of other machines join. It is the supervisor's, so that they outlive controllers as all workers do.

    worker   Join      who I am, what I bring, and of which deployment I hold a worker that has lost its door
    door     Welcome   begin a worker of this deployment, with these settings; or go on with that one
    worker   Spawned   it listens there
    door     Done      it was called there, and has answered: it has joined

From then on each side tells the other twice a second that it is there. `Signal` goes one way and `Exited` the other, as between a
supervisor and its own processes; and where the link breaks, or nothing is heard, the worker is gone. `Renew` has another worker begun
beside it, which comes to the door by itself, or is told of by `Spawned` where it cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.control.state import ROLES
from synfire.deploy.join.joined import BEAT_S, BEGIN_S, CALL_S, GREET_S, SILENT_S, JoinedWorker
from synfire.gateway.peer import WorkerPeer
from synfire.plan.costs import format_bytes
from synfire.wire.links import SocketLink, accept, listen
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import AnyMessage, Beat, Done, Exited, Failure, Join, Spawned, Welcome, error_words
from synfire.wire.stream import Packet

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OURS = re.compile(r"(w|worker-|spare-|place-)[0-9]+")
"""Names that plans and the controller give."""

MOST_CALLERS = 64
"""So many may be about to join at a time; more are asked to come again."""


class House(Protocol):
    """Whose door it is."""

    deployment: str

    def taken(self, name: str) -> str | None:
        """Who has that name: the agent of a worker that has joined, "" for a worker of this machine; None where nobody has."""
        ...

    async def part(self, name: str) -> None:
        """Take the worker of that name, if there is one, to be gone."""
        ...

    def welcome(self, worker: JoinedWorker) -> None:
        """It has joined."""
        ...

    def missed(self, news: Spawned) -> None:
        """A worker that was to take another one's place has not joined, for the reason that is told."""
        ...

    def awaits(self, name: str) -> bool:
        """Whether a worker of that name had joined before all processes here were killed, and is still waited for."""
        ...


class JoinDoor:
    """Listens at `address`, `host:port`, from `open` to `close`. Workers begin with `settings`. Made and used in one event loop."""

    def __init__(self, address: str, house: House, settings: bytes) -> None:
        self.address = f"tls://{address}"
        self._house = house
        self._settings = settings
        self._listener: socket.socket | None = None
        self._callers: set[Caller] = set()

    def open(self) -> None:
        """Listen; the port that was found is part of `address` then. Raises `UserError` where that cannot be."""
        self._listener, self.address = listen(self.address)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Let nobody in any more, and part from all that are there. Closing twice is no error."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for caller in list(self._callers):
            if caller.worker is not None:
                caller.worker.terminate()
            caller.part("the deployment has ended")

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError, TemporaryError):
            link = accept(self._listener, self.address, "a machine that has not said who it is")
            if sum(caller.worker is None for caller in self._callers) >= MOST_CALLERS:
                link.close()
            else:
                self._callers.add(Caller(link, self._house, self._settings, self._callers.discard))


class Caller:
    """Somebody at the door, until the link to it is closed, of which `left` hears. Raises `TemporaryError` for who has gone again."""

    def __init__(self, link: SocketLink, house: House, settings: bytes, left: Callable[[Caller], None]) -> None:
        self.worker: JoinedWorker | None = None
        self._link = link
        self._house = house
        self._settings = settings
        self._left = left
        self._here, self._there = link.ends()
        self._heard_s = time.monotonic()
        loop = asyncio.get_running_loop()
        self._wanted: asyncio.Future[Join] = loop.create_future()
        self._spawned: asyncio.Future[Spawned] = loop.create_future()
        self._watched = WatchedLink(link, self._take, self._lost)
        self._living = asyncio.create_task(self._live(), name="a worker of another machine")

    def part(self, why: str) -> None:
        """Part from it. Parting twice is no error."""
        self._living.cancel()
        self._watched.close()
        self._left(self)
        if self.worker is not None and self.worker.running:
            self.worker.gone(why)

    def _tell(self, message: AnyMessage) -> None:
        self._watched.tell(Packet(message))

    async def _live(self) -> None:
        """See it in, and then look after it until nothing is heard of it any more."""
        try:
            self.worker = await self._see_in()
        except TimeoutError:
            self._refuse(TemporaryError("it took too long to begin a worker; try again"))
        except SynfireError as error:
            self._refuse(error)
        else:
            await self._look_after(self.worker)

    async def _look_after(self, worker: JoinedWorker) -> None:
        self._house.welcome(worker)
        self._tell(Done(told=self._house.deployment))
        while (silent_s := time.monotonic() - self._heard_s) < SILENT_S:
            self._tell(Beat())
            await asyncio.sleep(BEAT_S)
        self.part(f"nothing was heard of its machine for {silent_s:.1f} s")

    async def _see_in(self) -> JoinedWorker:
        """The worker that has joined. Raises what it is to be told where it cannot."""
        wanted = await asyncio.wait_for(self._wanted, GREET_S)
        self._check_name(wanted)
        self._link.peer = f"worker {wanted.name}"
        goes_on = wanted.holds == self._house.deployment and self._house.awaits(wanted.name)
        self._tell(Welcome(self._house.deployment, wanted.host or self._there, self._settings, goes_on))
        spawned = await asyncio.wait_for(self._spawned, BEGIN_S)
        await _call(wanted.name, spawned, self._house.deployment)
        self._check_name(wanted)  # another one may have been faster
        await self._house.part(wanted.name)
        if goes_on and not self._house.awaits(wanted.name):
            raise TemporaryError(f"worker {wanted.name} has come too late to go on with what it holds; it begins anew")
        joined = msgspec.structs.replace(wanted.joined, door=self._here)
        how = "is back" if goes_on else "has joined"
        LOGGER.warning("worker %s %s: %s", wanted.name, how, _words(spawned, wanted))
        return JoinedWorker(wanted, spawned, joined, self._tell, lambda: self.part("it was let go"))

    def _take(self, packet: Packet) -> None:
        self._heard_s = time.monotonic()
        message = packet.message
        if isinstance(message, Join) and not self._wanted.done():
            self._wanted.set_result(message)
        elif isinstance(message, Spawned) and not self._spawned.done():
            self._spawned.set_result(message)
        elif isinstance(message, Spawned) and self.worker is not None:
            self._house.missed(message)
        elif isinstance(message, Exited) and self.worker is not None:
            self.worker.ended(message)

    def _check_name(self, wanted: Join) -> None:
        """Raise `UserError` for a name that is none, or somebody else's."""
        name, group, role = wanted.name, wanted.joined.group, wanted.joined.role
        if not _NAME.fullmatch(name) or _OURS.fullmatch(name):
            raise UserError(
                f"{name!r} is no name for a worker that joins: it takes up to 63 letters, digits, '.', '_' and '-', and nothing such as worker-0 "
                "or spare-1, which are the deployment's own; choose one with --name"
            )
        if not _NAME.fullmatch(group):
            raise UserError(
                f"{group!r} is no name for a group: it takes up to 63 letters, digits, '.', '_' and '-'; choose one with --group"
            )
        if role not in ROLES:
            raise UserError(f"{role!r} is no role of a worker; it is one of {', '.join(ROLES)}: choose one with --role")
        if self._house.taken(name) not in (None, wanted.agent):
            raise UserError(f"a worker of the name {name} is there already; choose another one with --name")

    def _refuse(self, error: SynfireError) -> None:
        LOGGER.warning("%s, from %s, is not let in: %s", self._link.peer, self._there, error)
        self._tell(Failure("", *error_words(error)))
        self._watched.close()
        self._left(self)

    def _lost(self, error: SynfireError) -> None:
        if isinstance(error, UserError):
            LOGGER.warning("at the door for workers of other machines, from %s: %s", self._there, error)
        self.part("the connection to its machine was lost")


async def _call(name: str, spawned: Spawned, deployment: str) -> None:
    """Call a worker where it says that it listens. Raises `UserError` where it is not reached."""
    address = spawned.addresses[0] if spawned.addresses else ""
    try:
        if not address.startswith("tls:"):
            raise UserError(f"{address!r} is no tls: address")
        peer = await WorkerPeer.reach(name, address, deployment, f"door-{deployment}", None, CALL_S)
    except SynfireError as error:
        raise UserError(
            f"worker {name} was not reached at {address} from the deployment's machine, which has to call it there ({error}); say with "
            "--address and --port where it can, and let firewalls pass that"
        ) from error
    peer.close()


def _words(spawned: Spawned, wanted: Join) -> str:
    """What is told of a worker that has joined."""
    offer = wanted.joined
    machine = f"{offer.cores} cores, {format_bytes(offer.memory_bytes)}"
    device = f"{offer.device} with {offer.device_cores}" if offer.device_cores is not None else offer.device or "cpu"
    return f"{offer.role}, {device}, {machine}, group {offer.group}, at {urlsplit(spawned.addresses[0]).netloc}"
