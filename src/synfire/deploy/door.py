"""The controller's door: a socket in the run folder at which gateways attend, and at which orders are taken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import Awaitable, Callable

from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.wire.links import SocketLink, connect, listen, unlink
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import (
    PROTOCOL,
    AnyMessage,
    Done,
    Failure,
    Hello,
    check_hello,
    error_of,
    error_words,
)
from synfire.wire.stream import Packet

NAME = "controller.sock"
"""The door's file in the run folder."""


class Visitor:
    """Somebody at the door, once greeted: `hello` says who. What comes along the link goes to `take`, its end to `lost`."""

    def __init__(self, connection: socket.socket, deployment: str, greeted: Callable[[Visitor], None]) -> None:
        self.hello: Hello | None = None
        self.take: Callable[[AnyMessage], None] = lambda message: None
        self.lost: Callable[[SynfireError], None] = lambda error: None
        self._deployment = deployment
        self._greeted = greeted
        self._link = WatchedLink(SocketLink(connection, "a visitor"), self._on_packet, lambda error: self.lost(error))
        self.tell(Hello(PROTOCOL, deployment, "controller"))

    def tell(self, message: AnyMessage) -> None:
        """Send a message; to one who has gone it makes no difference."""
        self._link.tell(Packet(message))

    def close(self) -> None:
        self._link.close()

    def _on_packet(self, packet: Packet) -> None:
        if self.hello is not None:
            self.take(packet.message)
            return
        try:
            self.hello = check_hello(packet.message, self._deployment)
        except UserError as error:
            self.tell(Failure("", *error_words(error)))
            raise
        self._greeted(self)


class Door:
    """Listens from `open` to `close`. Gateways go to `attend`; of others each message is an order, which `obey` carries out and
    answers in words, one after the other."""

    def __init__(
        self,
        address: str,
        deployment: str,
        attend: Callable[[Visitor], None],
        obey: Callable[[AnyMessage], Awaitable[str]],
    ) -> None:
        self._address = address
        self._deployment = deployment
        self._attend = attend
        self._obey = obey
        self._listener: socket.socket | None = None
        self._visitors: weakref.WeakSet[Visitor] = weakref.WeakSet()
        self._obeying: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Listen, also where a controller that was killed has left its socket."""
        unlink(self._address)
        self._listener, _ = listen(self._address)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Close all connections; orders that are under way come to nothing. Closing twice is no error."""
        for task in self._obeying:
            task.cancel()
        for visitor in list(self._visitors):
            visitor.close()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            unlink(self._address)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            visitor = Visitor(connection, self._deployment, self._greeted)
            self._visitors.add(visitor)

    def _greeted(self, visitor: Visitor) -> None:
        if visitor.hello is not None and visitor.hello.gateway:
            self._attend(visitor)
        else:
            visitor.take = lambda message: self.order(visitor, message)

    def order(self, visitor: Visitor, message: AnyMessage) -> None:
        """Carry out what a visitor wants, and answer it."""
        task = asyncio.create_task(self._carry_out(visitor, message), name=f"order {type(message).__name__}")
        self._obeying.add(task)
        task.add_done_callback(self._obeying.discard)

    async def _carry_out(self, visitor: Visitor, message: AnyMessage) -> None:
        ticket = getattr(message, "ticket", 0)
        try:
            visitor.tell(Done(told=await self._obey(message), ticket=ticket))
        except SynfireError as error:
            LOGGER.info("an order was not carried out: %s", error)
            visitor.tell(Done(*error_words(error), ticket=ticket))


def ask(address: str, deployment: str, order: AnyMessage, timeout_s: float) -> str:
    """Have the controller behind that door carry out an order, and wait for it; what was done, in words.

    Raises the error that it answers, and `TemporaryError` when it is away, or does not answer within `timeout_s`.
    """
    link = connect(address, "the controller")
    try:
        return asyncio.run(asyncio.wait_for(_asked(link, deployment, order), timeout_s))
    except TimeoutError:
        raise TemporaryError(
            f"the controller has not answered within {timeout_s:g} s; the order may still come about"
        ) from None


async def _asked(link: SocketLink, deployment: str, order: AnyMessage) -> str:
    answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()

    def take(packet: Packet) -> None:
        if isinstance(packet.message, Failure):
            raise error_of(packet.message)
        if isinstance(packet.message, Done):
            answer.set_result(packet.message)

    watched = WatchedLink(link, take, lambda error: None if answer.done() else answer.set_exception(error))
    try:
        watched.tell(Packet(Hello(PROTOCOL, deployment, "orders")))
        watched.tell(Packet(order))
        done = await answer
    finally:
        watched.close()
    if done.kind:
        raise error_of(done)
    return done.told
