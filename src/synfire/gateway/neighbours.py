"""The other gateways of a deployment: a session belongs to one of them, and its calls are handed on to that one.

What a gateway keeps of a session (its turns, its checkpoints) is in that gateway alone. Which one it is follows from the
session's name and from how many gateways there are, so all of them say the same, whoever is away at the moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import msgspec

from synfire.base.errors import DeadlineExceeded, SynfireError, TemporaryError
from synfire.gateway.request import Answer, Request
from synfire.ops import Array
from synfire.wire.links import SocketLink, connect, listen, unlink
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import (
    PROTOCOL,
    Ask,
    Cancel,
    Failure,
    Given,
    Hello,
    check_hello,
    error_of,
    failure_of,
)
from synfire.wire.stream import Packet

AWAY_S = 5.0
"""How long a call waits for a neighbour that is away: it takes a second or two to come back."""

AGAIN_S = 0.05

SOON_S = 0.001
"""The least time that a call is handed on with."""


class Answering(Protocol):
    """What answers the calls of sessions that are kept here: the data plane."""

    async def infer(self, request: Request) -> Answer: ...
    def stream(self, request: Request) -> AsyncGenerator[Answer, None]: ...


class Neighbours:
    """The gateways `names`, of which `here` is this one; each listens in `folder`. Made and used in one event loop."""

    def __init__(self, here: str, names: tuple[str, ...], folder: Path, deployment: str, plane: Answering) -> None:
        self._here = here
        self._names = names
        self._folder = folder
        self._deployment = deployment
        self._plane = plane
        self._lines: dict[str, Line] = {}
        self._listener: socket.socket | None = None
        self._doors: set[Desk] = set()

    def open(self) -> None:
        """Answer neighbours from now on."""
        unlink(self._address(self._here))
        self._listener, _ = listen(self._address(self._here))
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    async def close(self) -> None:
        """Answer what neighbours have asked, and part from them."""
        await asyncio.gather(*(each.close() for each in self._doors))
        for line in self._lines.values():
            line.close()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            unlink(self._address(self._here))

    def keeps(self, session: str) -> bool:
        """Whether another gateway keeps the session."""
        return bool(session) and self.keeper(session) != self._here

    def keeper(self, session: str) -> str:
        """Who keeps the session."""
        digest = hashlib.blake2b(session.encode(), digest_size=8).digest()
        return self._names[int.from_bytes(digest, "big") % len(self._names)]

    async def infer(self, request: Request) -> Answer:
        """The whole answer of the gateway that keeps the session. Raises what it says, and `TemporaryError` when it is lost."""
        async with aclosing(self._ask(request, whole=True)) as answers:
            return await anext(answers)

    async def stream(self, request: Request) -> AsyncGenerator[Answer, None]:
        """Its answer as it comes; closing the iterator early cancels the call. Raises as `infer` does."""
        async with aclosing(self._ask(request, whole=False)) as answers:
            async for answer in answers:
                yield answer

    async def _ask(self, request: Request, whole: bool) -> AsyncGenerator[Answer, None]:
        name, began_s = self.keeper(request.session), asyncio.get_running_loop().time()
        if request.timeout_s is None:
            line = await self._line(name)
        else:
            line = await self._line_within(name, request.timeout_s)
            passed_s = asyncio.get_running_loop().time() - began_s
            request = msgspec.structs.replace(request, timeout_s=max(request.timeout_s - passed_s, SOON_S))
        async with aclosing(line.ask(request, whole)) as answers:
            async for answer in answers:
                yield answer

    async def _line_within(self, name: str, timeout_s: float) -> Line:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._line(name)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{name}, which keeps the session, was away until the call passed its deadline; allow it more time"
            ) from None

    async def _line(self, name: str) -> Line:
        """The connection to a neighbour, once it is there."""
        line = self._lines.get(name)
        if line is not None and line.open:
            return line
        until_s = asyncio.get_running_loop().time() + AWAY_S
        while True:
            try:
                link = connect(self._address(name), name)
                break
            except TemporaryError:
                if asyncio.get_running_loop().time() > until_s:
                    raise TemporaryError(f"{name}, which keeps the session, is away; try again") from None
                await asyncio.sleep(AGAIN_S)
        line = self._lines[name] = Line(name, link, self._here, self._deployment)
        return line

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            self._doors.add(Desk(connection, self._here, self._deployment, self._plane, self._doors.discard))

    def _address(self, name: str) -> str:
        return f"unix:{self._folder / name}.sock"


class Line:
    """A connection to a neighbour, along which calls go and answers come back."""

    def __init__(self, name: str, link: SocketLink, here: str, deployment: str) -> None:
        self._name = name
        self._deployment = deployment
        self._greeted = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[Answer | SynfireError]] = {}
        self._link = WatchedLink(link, self._take, self._lost)
        self._link.send(Packet(Hello(PROTOCOL, deployment, here, gateway=True)))

    @property
    def open(self) -> bool:
        return self._link.open

    def close(self) -> None:
        self._link.close()

    async def ask(self, request: Request, whole: bool) -> AsyncGenerator[Answer, None]:
        """The answers to a request, the last with `last`. Raises what the neighbour says."""
        number = next(self._numbers)
        answers = self._waiting[number] = asyncio.Queue()
        last = False
        try:
            self._link.send(Packet(_asking(number, request, whole), request.inputs))
            while not last:
                answer = await answers.get()
                if isinstance(answer, SynfireError):
                    last = True
                    raise answer
                last = whole or answer.last
                yield answer
        finally:
            del self._waiting[number]
            if not last:
                self._link.tell(Packet(Cancel(str(number))))

    def _take(self, packet: Packet) -> None:
        message = packet.message
        if not self._greeted:
            check_hello(message, self._deployment)
            self._greeted = True
        elif isinstance(message, Given):
            answer = Answer(
                message.model,
                message.version,
                message.id,
                packet.arrays,
                message.first_step,
                message.steps,
                message.last,
            )
            self._give(message.number, packet.fault or answer)
        elif isinstance(message, Failure):
            self._give(int(message.request), error_of(message))

    def _give(self, number: int, answer: Answer | SynfireError) -> None:
        if number in self._waiting:
            self._waiting[number].put_nowait(answer)

    def _lost(self, error: SynfireError) -> None:
        for answers in self._waiting.values():
            answers.put_nowait(
                TemporaryError(f"{self._name}, which kept the session, was lost; begin the session again ({error})")
            )


class Desk:
    """Where one neighbour's calls are answered."""

    def __init__(
        self,
        connection: socket.socket,
        here: str,
        deployment: str,
        plane: Answering,
        gone: Callable[[Desk], None],
    ) -> None:
        self._deployment = deployment
        self._plane = plane
        self._gone = gone
        self._greeted = False
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._link = WatchedLink(SocketLink(connection, "a neighbour"), self._take, self._lost)
        self._link.tell(Packet(Hello(PROTOCOL, deployment, here, gateway=True)))

    async def close(self) -> None:
        """Answer what was asked, then part."""
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        self._link.close()

    def _take(self, packet: Packet) -> None:
        message = packet.message
        if not self._greeted:
            check_hello(message, self._deployment)
            self._greeted = True
        elif isinstance(message, Ask):
            call = self._calls[str(message.number)] = asyncio.create_task(self._answer(message, packet))
            call.add_done_callback(lambda _: self._calls.pop(str(message.number), None))
        elif isinstance(message, Cancel) and message.request in self._calls:
            self._calls[message.request].cancel()

    async def _answer(self, ask: Ask, packet: Packet) -> None:
        try:
            if packet.fault is not None:
                raise packet.fault
            request = _asked(ask, packet.arrays)
            if ask.whole:
                self._give(ask.number, await self._plane.infer(request))
                return
            async with aclosing(self._plane.stream(request)) as answers:
                async for answer in answers:
                    self._give(ask.number, answer)
        except Exception as error:  # whatever it is, the caller is to hear it
            self._link.tell(Packet(failure_of(str(ask.number), error)))

    def _give(self, number: int, answer: Answer) -> None:
        given = Given(number, answer.model, answer.version, answer.id, answer.first_step, answer.steps, answer.last)
        self._link.tell(Packet(given, answer.outputs))

    def _lost(self, error: SynfireError) -> None:
        for call in self._calls.values():
            call.cancel()
        self._gone(self)


def _asking(number: int, request: Request, whole: bool) -> Ask:
    return Ask(
        number,
        request.model,
        whole,
        request.version,
        request.outputs,
        request.id,
        request.session,
        request.start,
        request.end,
        request.timeout_s,
        request.part_steps,
    )


def _asked(ask: Ask, inputs: Mapping[str, Array]) -> Request:
    return Request(
        ask.model,
        inputs,
        ask.version,
        ask.outputs,
        ask.id,
        ask.session,
        ask.start,
        ask.end,
        ask.timeout_s,
        ask.part_steps,
    )
