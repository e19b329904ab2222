"""A worker's connections: from the gateways and workers that reach it, and to the workers that it sends frames to.

What is lost with a connection fails at once: requests that had still to cross it, or to send something along it, and, where
it led to a gateway, everything that was asked by it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable

from synfire.base.errors import Interrupted, OutOfReach, SynfireError, TemporaryError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.plan.plan import GATEWAY
from synfire.wire import batches
from synfire.wire.links import Link, SocketLink
from synfire.wire.links.silence import LOOK_S, SILENT_S
from synfire.wire.messages import AnyMessage, Batch, Draining, Failure, Frame, Hello, Impair, check_hello, error_words
from synfire.wire.stream import Packet
from synfire.worker.core import Core
from synfire.worker.impairments import Impairments, dropped
from synfire.worker.outgoing import Outgoing
from synfire.worker.peers import READ, WRITE, Peer, Watch

CONTROLLER = "controller-"
"""How those call themselves who decide what is hosted where."""


class Connections:
    """Who is connected to a worker. `standing` gives what every gateway is told when it connects. `hello` is how it greets;
    `connect` opens a link to an address; `take` is given what is received, after the greeting. `look_at_s` is when `look`
    is to be called, since something was sent to another host."""

    def __init__(
        self,
        hello: Hello,
        core: Core,
        watch: Watch,
        connect: Callable[[str], Link],
        take: Callable[[Peer, Packet], None],
    ) -> None:
        self.draining = False
        self.awaiting_drain: set[Peer] = set()
        self._all_asked = False
        self.standing: Callable[[], Iterable[AnyMessage]] = tuple
        self._hello = hello
        self._core = core
        self._watch = watch
        self._connect = connect
        self._take = take
        self._incoming: set[Peer] = set()
        self._outgoing: dict[str, Peer] = {}
        self._origins: dict[str, Peer] = {}
        self._impairments = Impairments()
        self._later: dict[Peer, None] = {}
        self.look_at_s = math.inf

    @property
    def full(self) -> bool:
        """Whether some peer lags so far behind that nothing more should be made for it."""
        return any(peer.link.full for peer in self._peers())

    @property
    def sending(self) -> bool:
        """Whether something waits to be sent."""
        return any(peer.link.pending for peer in self._peers())

    def accept(self, link: Link) -> None:
        """Somebody has connected."""
        peer = Peer(link)
        self._incoming.add(peer)
        self._greet(peer)

    def send_out(self, outgoing: Outgoing, later: bool = False) -> None:
        """Send what the core has put out to the worker, or the gateway, that it is for; with `later`, by the next `flush`."""
        if outgoing.address:
            self._send_on(outgoing, later)
        elif outgoing.origin in self._origins:
            self.send(self._origins[outgoing.origin], outgoing.packet, outgoing, later)
        else:
            LOGGER.info("%s: nobody waits for %s any more", self._core.who, type(outgoing.packet.message).__name__)

    def flush(self) -> None:
        """Let go what was to be sent later."""
        while self._later:
            peer, _ = self._later.popitem()
            if peer.watched:
                self._on_events(peer, WRITE)

    def send(self, peer: Peer, packet: Packet, outgoing: Outgoing | None = None, later: bool = False) -> None:
        """Send a packet; when it does not get through, the request that it belongs to fails."""
        began_s = time.perf_counter()
        try:
            sent = peer.link.send(packet, later)
        except TemporaryError as error:
            self._lost(peer, error)
            self._fail_sent(outgoing, self._interruption(error, peer.address))
        except UserError as error:
            self._fail_sent(outgoing, error)
        else:
            if outgoing is not None and outgoing.tally is not None:
                outgoing.tally.encoded_bytes += sent
                outgoing.tally.send_s += time.perf_counter() - began_s
            if later:
                self._later[peer] = None
            else:
                self._watch.refresh(peer)

    def tell(self, message: AnyMessage) -> None:
        """Send a message to every gateway."""
        for peer in list(self._origins.values()):
            self.send(peer, Packet(message))

    def drain(self) -> None:
        """Tell that this worker is to leave: controllers first, who have others build what is hosted here while it is still answered, and when
        these have let go gateways, who send nothing new then. `awaiting_drain` are those that have not answered yet."""
        self.draining = True
        for peer in self._controllers():
            self._ask_to_drain(peer)
        self._go_on_draining()

    def drained(self, peer: Peer) -> None:
        """The gateway waits for nothing here any more, and sends nothing new: what is left of its requests is of no use to anybody, such as of a
        call that was moved while its caller is slow to read, who has cancelled it nowhere yet."""
        self.awaiting_drain.discard(peer)
        if self.draining and self._origins.get(peer.who) is peer:
            self._core.lost_origin(peer.who)
        self._go_on_draining()

    def check(self, impair: Impair) -> None:
        """Raise `UnknownName` where there is no connection for the fault, and it is over before there could be one."""
        if not impair.for_s and not self._impaired(impair):
            known = [*([GATEWAY] if self._origins else []), *self._outgoing]
            raise UnknownName.among(f"open connection of worker {self._core.who}", impair.peer, known)

    def impair(self, impair: Impair) -> None:
        """Inject a fault."""
        self._impairments.note(impair)
        for peer in self._impaired(impair):
            if impair.delay_s:
                self._impairments.apply(impair.peer, peer.link)
            else:
                self._lost(peer, dropped(impair.peer))

    def look(self, now_s: float) -> None:
        """Break connections to workers whose hosts have not acknowledged for too long what was sent to them."""
        if now_s < self.look_at_s:
            return
        self.look_at_s = math.inf
        for peer in list(self._outgoing.values()):
            silent_s = peer.link.silent_s(now_s) if isinstance(peer.link, SocketLink) else None
            if silent_s is None:
                continue
            if silent_s >= SILENT_S:
                self._lost(peer, _silent(peer, silent_s), silent_s)
            else:
                self.look_at_s = now_s + LOOK_S

    def hand_over(self, peer: Peer) -> Link:
        """Give the peer's link to somebody else, who closes it."""
        self._watch.remove(peer)
        self._incoming.discard(peer)
        return peer.link

    def close(self) -> None:
        for peer in self._peers():
            self._watch.remove(peer)
            peer.link.close()

    def _impaired(self, impair: Impair) -> list[Peer]:
        if impair.peer == GATEWAY:
            return list(self._origins.values())
        return [peer for address, peer in self._outgoing.items() if address == impair.peer]

    def _peers(self) -> tuple[Peer, ...]:
        return (*self._incoming, *self._outgoing.values())

    def _send_on(self, outgoing: Outgoing, later: bool) -> None:
        try:
            peer = self._outgoing.get(outgoing.address) or self._reach(outgoing.address)
        except SynfireError as error:
            lost = self._interruption(error, outgoing.address)
            self._core.lost_address(outgoing.address, lost)
            self._fail_sent(outgoing, lost)
            return
        for frame in _frames(outgoing.packet):
            peer.crosses(frame.request, frame.origin)
        self.send(peer, outgoing.packet, outgoing, later)
        if peer.distant:
            self.look_at_s = min(self.look_at_s, time.monotonic() + LOOK_S)

    def _fail_sent(self, outgoing: Outgoing | None, error: SynfireError) -> None:
        """The frame, or several, did not get through, so their requests cannot be answered."""
        for frame in _frames(outgoing.packet) if outgoing else ():
            self._core.fail(frame.request, frame.origin, error)

    def _reach(self, address: str) -> Peer:
        self._impairments.check(address)
        peer = Peer(self._connect(address), address)
        self._impairments.apply(address, peer.link)
        self._outgoing[address] = peer
        self._greet(peer)
        return peer

    def _greet(self, peer: Peer) -> None:
        self._watch.add(peer, lambda events: self._on_events(peer, events))
        self.send(peer, Packet(self._hello))

    def _on_events(self, peer: Peer, events: int) -> None:
        try:
            if events & WRITE:
                peer.link.flush()
                self._watch.refresh(peer)
            if events & READ:
                for packet in peer.link.receive():
                    self._on_packet(peer, packet)
                self._watch.refresh(peer)  # a link may have to answer, before anything is sent along it
        except SynfireError as error:
            self._lost(peer, error)

    def _on_packet(self, peer: Peer, packet: Packet) -> None:
        if not peer.who:
            self._on_hello(peer, packet)
            return
        for each in batches.part(packet):
            if isinstance(each.message, Frame):
                peer.senders.add((each.message.model, each.message.sender))
            self._take(peer, each)

    def _on_hello(self, peer: Peer, packet: Packet) -> None:
        try:
            hello = check_hello(packet.message, self._hello.deployment)
        except UserError as error:
            self.send(peer, Packet(Failure("", *error_words(error))))
            raise
        peer.who = hello.who
        peer.link.peer = f"{'gateway' if hello.gateway else 'worker'} {hello.who}"
        if hello.gateway:
            self._impairments.check(GATEWAY)
            self._impairments.apply(GATEWAY, peer.link)
            if hello.who in self._origins:
                self._lost(self._origins[hello.who], TemporaryError(f"{hello.who} has connected anew"))
            self._origins[hello.who] = peer
            self._core.found_origin(hello.who)
            for message in self.standing():
                self.send(peer, Packet(message))
            if self.draining and (self._all_asked or peer in self._controllers()):
                self._ask_to_drain(peer)

    def _controllers(self) -> list[Peer]:
        return [peer for who, peer in self._origins.items() if who.startswith(CONTROLLER)]

    def _go_on_draining(self) -> None:
        if self.draining and not self._all_asked and not self.awaiting_drain:
            self._all_asked = True
            for peer in list(self._origins.values()):
                if peer not in self._controllers():
                    self._ask_to_drain(peer)

    def _ask_to_drain(self, peer: Peer) -> None:
        self.awaiting_drain.add(peer)
        self.send(peer, Packet(Draining(self._core.who)))

    def _lost(self, peer: Peer, error: SynfireError, silent_s: float = 0.0) -> None:
        if not peer.watched:
            return
        level = logging.WARNING if isinstance(error, UserError) else logging.INFO
        LOGGER.log(level, "%s: lost %s: %s", self._core.who, peer.who or peer.link.peer, error)
        self._watch.remove(peer)
        peer.link.close()
        self._incoming.discard(peer)
        self.awaiting_drain.discard(peer)
        lost = self._interruption(error, peer.address, silent_s)
        if peer.address:
            self._outgoing.pop(peer.address, None)
            self._core.lost_address(peer.address, lost)
            for request, origin in peer.crossed.items():
                self._core.fail(request, origin, lost)
        elif self._origins.get(peer.who) is peer:
            del self._origins[peer.who]
            self._core.lost_origin(peer.who)
        self._core.lost_senders(peer.senders, lost)
        self._go_on_draining()

    def _interruption(self, error: SynfireError, address: str, for_s: float = 0.0) -> SynfireError:
        """The loss of a peer, as requests are told of it that had still to go there."""
        if not isinstance(error, TemporaryError):
            return error
        return Interrupted(str(error), unreachable=OutOfReach(address, self._core.who, for_s) if address else None)


def _frames(packet: Packet) -> tuple[Frame, ...]:
    message = packet.message
    if isinstance(message, Batch):
        return message.frames
    return (message,) if isinstance(message, Frame) else ()


def _silent(peer: Peer, silent_s: float) -> TemporaryError:
    return TemporaryError(
        f"the link to {peer.link.peer} is broken: nothing has been acknowledged there for {silent_s:.2f} s; try again when the "
        "network is mended"
    )
