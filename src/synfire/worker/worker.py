"""The I/O around a worker's core.

**Threads.** One thread reads packets, runs programs and writes packets, in turns: a frame that arrives is computed and
sent on without being handed from thread to thread, which costs tens of microseconds each time. The kernel's socket
buffers take what arrives while a program runs, and programs run for one block of time steps at a time. Beside it, one
thread builds programs, one answers HTTP, and foreign services are called from threads of their link; they meet the
first thread only through `post`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

from synfire.base.errors import Interrupted, SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.engines.known_answer import known_answer
from synfire.graph import Graph
from synfire.wire.links import Link, SocketLink, connect, listen, unlink
from synfire.wire.messages import (
    PROTOCOL,
    Advance,
    Cancel,
    Describe,
    Description,
    Drained,
    Draining,
    Failure,
    Forget,
    Frame,
    Hello,
    Host,
    Hosted,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Prove,
    Proved,
    Pulse,
    Relink,
    Relinked,
    Restore,
    Restored,
    Unhost,
    check_hello,
    error_of,
    error_words,
)
from synfire.wire.stream import Buffer, Packet
from synfire.worker.builder import Builder, Built
from synfire.worker.core import Core, Outgoing
from synfire.worker.job import Job, Outcome
from synfire.worker.peers import READ, WRITE, Peer, Watch
from synfire.worker.pulse import PulseThread
from synfire.worker.settings import Settings

_EXPIRE_EVERY_S = 1.0


class Worker:
    """Hosts stages and answers frames until it is told to drain; `run` is its life."""

    def __init__(self, name: str, deployment: str, addresses: list[str], settings: Settings | None = None) -> None:
        self.name = name
        self.deployment = deployment
        self.settings = settings or Settings()
        self.core = Core(name, self.settings)
        self.builder = Builder(self.settings.parameter_bytes)
        self.draining = False
        self.local_origins: dict[str, Callable[[Packet], None]] = {}
        self._turned_s = time.monotonic()
        self._pulse = PulseThread(lambda: time.monotonic() - self._turned_s < self.settings.stuck_s)
        self._watch = Watch()
        self._listeners = [listen(address) for address in addresses]
        self._incoming: set[Peer] = set()
        self._origins: dict[str, Peer] = {}
        self._outgoing: dict[str, Peer] = {}
        self._services: dict[tuple[str, str], Peer] = {}
        self._abroad: dict[tuple[str, str], deque[Job]] = {}
        self._awaiting_drain: set[Peer] = set()
        self._drain_until_s = math.inf
        self._expire_at_s = 0.0
        self._posted: deque[Callable[[], None]] = deque()
        self._woken, self.wake_socket = socket.socketpair()
        self._woken.setblocking(False)
        self.wake_socket.setblocking(False)
        self._stop = False

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""
        return [address for _, address in self._listeners]

    def run(self) -> int:
        """Serve until drained or stopped; 0 when nothing that was accepted is left unanswered."""
        self._watch.selector.register(self._woken, READ, self._on_wake)
        for listener, _ in self._listeners:
            self._watch.selector.register(listener, READ, lambda _, each=listener: self._accept(each))
        try:
            while not self._finished():
                self._turn()
            return 0 if self.core.idle else 1
        finally:
            self._close()

    def post(self, action: Callable[[], None]) -> None:
        """Have `action` called in the worker's thread soon. From any thread, or a signal handler."""
        self._posted.append(action)
        with contextlib.suppress(OSError):
            self.wake_socket.send(b"!")

    def drain(self) -> None:
        """Ask the gateways to send nothing new; `run` returns when all that was accepted is answered."""
        if self.draining:
            return
        self.draining = True
        self._drain_until_s = time.monotonic() + self.settings.drain_s
        self._awaiting_drain = set(self._origins.values())
        for peer in list(self._awaiting_drain):
            self._send(peer, Packet(Draining(self.name)))

    def stop(self) -> None:
        """Leave at once."""
        self._stop = True

    def build(self, host: Host, graph: Graph | Buffer, then: Callable[[Hosted], None]) -> None:
        """Build and host a stage, then call `then` in the worker's thread."""

        def done(future: Future[Built]) -> None:
            self.post(lambda: then(self._host(host, future)))

        self.builder.build(host, graph, done)

    def take_in(self, packet: Packet) -> None:
        """Take in a frame of a local origin, in the worker's thread."""
        self.core.receive(packet, time.monotonic())

    def flush(self) -> None:
        """Send what the core has put out."""
        while self.core.outbox:
            self._send_out(self.core.outbox.popleft())

    def _turn(self) -> None:
        self._turned_s = time.monotonic()
        for key, events in self._watch.selector.select(self._patience_s()):
            key.data(events)
        now_s = time.monotonic()
        job = None if self._full() else self.core.next_job(now_s)
        if job is not None:
            self._compute(job)
        self.flush()
        if now_s >= self._expire_at_s:
            self._expire_at_s = now_s + _EXPIRE_EVERY_S
            self.core.expire(now_s)
            self.flush()

    def _patience_s(self) -> float:
        if self._posted or (self.core.has_work and self.core.wake_s == math.inf and not self._full()):
            return 0.0
        now_s = time.monotonic()
        return max(0.0, min(self.core.wake_s, self._expire_at_s, self._drain_until_s) - now_s)

    def _full(self) -> bool:
        return any(peer.link.full for peer in (*self._incoming, *self._outgoing.values(), *self._services.values()))

    def _finished(self) -> bool:
        if self._stop or time.monotonic() >= self._drain_until_s:
            return True
        return self.draining and not self._awaiting_drain and self.core.idle and not self._sending()

    def _sending(self) -> bool:
        return any(peer.link.pending for peer in (*self._incoming, *self._outgoing.values()))

    def _compute(self, job: Job) -> None:
        if job.stage.program is None:
            self._send_abroad(job)
            return
        outcomes, busy_s = job.run()
        self.core.finish(job, outcomes, busy_s, time.monotonic())

    def _send_abroad(self, job: Job) -> None:
        frame = job.visits[0].first
        block = job.blocks[0]
        packet = Packet(
            Frame(
                frame.model,
                frame.receiver,
                frame.receiver,
                frame.request,
                frame.origin,
                block.number,
                block.first_step,
                block.steps,
                block.last,
            ),
            job.inputs[0],
        )
        self._abroad[job.stage.key].append(job)
        self._services[job.stage.key].link.send(packet)

    def _back_from_abroad(self, key: tuple[str, str]) -> None:
        for packet in self._services[key].link.receive():
            failure = packet.message
            error = error_of(failure) if isinstance(failure, Failure) else None
            job = self._abroad[key].popleft()
            self.core.finish(job, [Outcome({}, packet.arrays, error)], 0.0, time.monotonic())

    def _send_out(self, outgoing: Outgoing) -> None:
        if outgoing.address:
            self._send_on(outgoing)
        elif outgoing.origin in self.local_origins:
            self.local_origins[outgoing.origin](outgoing.packet)
        elif outgoing.origin in self._origins:
            self._send(self._origins[outgoing.origin], outgoing.packet, outgoing)
        else:
            LOGGER.info("%s: nobody waits for %s any more", self.name, type(outgoing.packet.message).__name__)

    def _send_on(self, outgoing: Outgoing) -> None:
        try:
            peer = self._outgoing.get(outgoing.address) or self._reach(outgoing.address)
        except SynfireError as error:
            lost = _interruption(error)
            self.core.lost_address(outgoing.address, lost)
            self._fail_sent(outgoing, lost)
            return
        if isinstance(outgoing.packet.message, Frame):
            peer.crosses(outgoing.packet.message.request, outgoing.origin)
        self._send(peer, outgoing.packet, outgoing)

    def _send(self, peer: Peer, packet: Packet, outgoing: Outgoing | None = None) -> None:
        try:
            sent = peer.link.send(packet)
        except TemporaryError as error:
            self._lost(peer, error)
            self._fail_sent(outgoing, _interruption(error))
        except UserError as error:
            self._fail_sent(outgoing, error)
        else:
            if outgoing is not None and outgoing.tally is not None:
                outgoing.tally.encoded_bytes += sent
            self._watch.refresh(peer)

    def _fail_sent(self, outgoing: Outgoing | None, error: SynfireError) -> None:
        """The frame did not get through, so its request cannot be answered."""
        message = outgoing.packet.message if outgoing else None
        if outgoing and isinstance(message, Frame):
            self.core.fail(message.request, outgoing.origin, error)

    def _reach(self, address: str) -> Peer:
        peer = Peer(connect(address, f"the worker at {address}", self.settings.links), address)
        self._outgoing[address] = peer
        self._watch.add(peer, lambda events: self._on_events(peer, events))
        self._send(peer, Packet(self._hello()))
        return peer

    def _hello(self) -> Hello:
        return Hello(PROTOCOL, self.deployment, self.name)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = listener.accept()
            link: Link = SocketLink(connection, "a peer that has not said hello", self.settings.links)
            peer = Peer(link)
            self._incoming.add(peer)
            self._watch.add(peer, lambda events: self._on_events(peer, events))
            self._send(peer, Packet(self._hello()))

    def _on_events(self, peer: Peer, events: int) -> None:
        try:
            if events & WRITE:
                peer.link.flush()
                self._watch.refresh(peer)
            if events & READ:
                for packet in peer.link.receive():
                    self._on_packet(peer, packet)
        except SynfireError as error:
            self._lost(peer, error)

    def _on_packet(self, peer: Peer, packet: Packet) -> None:
        if not peer.who:
            self._greet(peer, packet)
            return
        message = packet.message
        if isinstance(message, Frame):
            peer.senders.add((message.model, message.sender))
            self.core.receive(packet, time.monotonic())
        elif type(message) in _ACTIONS:
            _ACTIONS[type(message)](self, peer, packet)
        else:
            raise UserError(f"a worker takes no {type(message).__name__}; {peer.who} should not send it")

    def _greet(self, peer: Peer, packet: Packet) -> None:
        try:
            hello = check_hello(packet.message, self.deployment)
        except UserError as error:
            self._send(peer, Packet(Failure("", *error_words(error))))
            raise
        peer.who = hello.who
        peer.link.peer = f"{'gateway' if hello.gateway else 'worker'} {hello.who}"
        if hello.gateway:
            self._origins[hello.who] = peer
            if self.draining:
                self._awaiting_drain.add(peer)
                self._send(peer, Packet(Draining(self.name)))

    def _lost(self, peer: Peer, error: SynfireError) -> None:
        """The connection is gone: what depended on it fails at once."""
        if not peer.watched:
            return
        level = logging.WARNING if isinstance(error, UserError) else logging.INFO
        LOGGER.log(level, "%s: lost %s: %s", self.name, peer.who or peer.link.peer, error)
        self._watch.remove(peer)
        peer.link.close()
        self._incoming.discard(peer)
        self._awaiting_drain.discard(peer)
        if peer.address:
            self._outgoing.pop(peer.address, None)
            self.core.lost_address(peer.address, _interruption(error))
            for request, origin in peer.crossed.items():
                self.core.fail(request, origin, _interruption(error))
        elif self._origins.get(peer.who) is peer:
            del self._origins[peer.who]
            self.core.lost_origin(peer.who)
        self.core.lost_senders(peer.senders, _interruption(error))

    def _on_wake(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        while self._posted:
            self._posted.popleft()()

    def _host(self, host: Host, future: Future[Built]) -> Hosted:
        try:
            built = future.result()
            self.core.host(host, built.graph, built.program)
            if host.url:
                self._reach_service(host, built.graph)
        except Exception as error:
            if not isinstance(error, SynfireError):
                LOGGER.exception("%s: stage %s.%s cannot be built", self.name, host.model, host.stage)
            return Hosted(host.model, host.stage, *error_words(error))
        began_s = time.monotonic()
        answer = known_answer(built.program) if built.program is not None else ""
        return Hosted(host.model, host.stage, build_s=built.build_s, answer=answer, proof_s=time.monotonic() - began_s)

    def _reach_service(self, host: Host, graph: Graph) -> None:
        from synfire.wire.links.http import HttpLink, HttpService  # only here: it imports an HTTP client

        key = (host.model, host.stage)
        self._leave_service(key)
        peer = Peer(HttpLink(HttpService(host.url, graph.inputs, graph.output_signals(), self.settings.links)))
        self._services[key], self._abroad[key] = peer, deque()
        self._watch.add(peer, lambda _: self._back_from_abroad(key))

    def _leave_service(self, key: tuple[str, str]) -> None:
        peer = self._services.pop(key, None)
        if peer is not None:
            self._watch.remove(peer)
            peer.link.close()

    def _describe(self) -> Description:
        core = self.core
        return Description(
            self.name, os.getpid(), len(core.requests), core.sessions, core.buffered_bytes, core.describe()
        )

    def _unhost(self, model: str) -> None:
        self.core.unhost(model)
        for key in [key for key in self._services if key[0] == model]:
            self._leave_service(key)

    def _close(self) -> None:
        self.builder.close()
        self._pulse.close()
        for key in list(self._services):
            self._leave_service(key)
        for peer in (*self._incoming, *self._outgoing.values()):
            self._watch.remove(peer)
            peer.link.close()
        for listener, address in self._listeners:
            listener.close()
            unlink(address)
        self._watch.selector.close()
        self._woken.close()
        self.wake_socket.close()


def _interruption(error: SynfireError) -> SynfireError:
    """The loss of a peer, as requests are told of it that had still to go there."""
    return Interrupted(str(error)) if isinstance(error, TemporaryError) else error


def _on_host(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    worker.build(message, packet.raw, lambda hosted: worker._send(peer, Packet(hosted)))


def _on_prepare(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message

    def done(prepared: Prepared) -> None:
        worker.post(lambda: worker._send(peer, Packet(prepared)))

    worker.builder.prepare(message, packet.raw, done)


def _on_relink(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    words = ("", "")
    try:
        worker.core.relink(message)
    except SynfireError as error:
        words = error_words(error)
    worker._send(peer, Packet(Relinked(message.model, message.epoch, *words)))


def _on_prove(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    stage = worker.core.stages.get((message.model, message.stage))
    answer = known_answer(stage.program) if stage is not None and stage.program is not None else ""
    worker._send(peer, Packet(Proved(message.model, message.stage, answer)))


def _on_restore(worker: Worker, peer: Peer, packet: Packet) -> None:
    words = ("", "")
    try:
        if packet.fault is not None:
            raise packet.fault
        worker.core.restore(cast(Restore, packet.message), dict(packet.arrays), time.monotonic())
    except SynfireError as error:
        words = error_words(error)
    worker._send(peer, Packet(Restored(*words)))


def _on_pulse(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    worker._watch.remove(peer)
    worker._incoming.discard(peer)
    worker._pulse.add(peer.link, message.interval_s)


def _on_drained(worker: Worker, peer: Peer, packet: Packet) -> None:
    worker._awaiting_drain.discard(peer)


def _on_refused(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    raise error_of(message)


_ACTIONS: dict[type, Callable[[Worker, Peer, Any], None]] = {
    Host: _on_host,
    Prepare: _on_prepare,
    Relink: _on_relink,
    Restore: _on_restore,
    Prove: _on_prove,
    Pulse: _on_pulse,
    Drained: _on_drained,
    Failure: _on_refused,
    Cancel: lambda worker, _, packet: worker.core.cancel(packet.message.request),
    Forget: lambda worker, _, packet: worker.core.forget(packet.message.model, packet.message.session),
    Advance: lambda worker, _, packet: worker.core.advance(packet.message.request, packet.message.number),
    Unhost: lambda worker, _, packet: worker._unhost(packet.message.model),
    Ping: lambda worker, peer, packet: worker._send(peer, Packet(Pong(packet.message.token))),
    Describe: lambda worker, peer, _: worker._send(peer, Packet(worker._describe())),
}
