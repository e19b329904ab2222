"""The I/O around a worker's core.

**Threads.** One thread reads packets, runs programs and writes packets, in turns: a frame that arrives is computed and
sent on without being handed from thread to thread, which costs tens of microseconds each time. The kernel's socket
buffers take what arrives while a program runs, and programs run for one block of time steps at a time. Beside it, one
thread builds programs, one answers HTTP, one sends heartbeats, and foreign services are called from threads of their
link; they meet the first thread only through `post`.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial
from typing import cast

from synfire.base.errors import SynfireError, UserError
from synfire.base.log import LOGGER
from synfire.devices.mending import DeviceFault, DeviceLost
from synfire.engines.known_answer import known_answer
from synfire.graph import Graph
from synfire.wire import batches
from synfire.wire.links import Link, accept, connect, listen, unlink
from synfire.wire.messages import (
    PROTOCOL,
    AnyMessage,
    Description,
    Frame,
    Hello,
    Host,
    Hosted,
    Inject,
    Injected,
    Restore,
    error_words,
)
from synfire.wire.stream import Buffer, Packet
from synfire.worker.actions import act
from synfire.worker.builder import Builder, Built
from synfire.worker.connections import Connections
from synfire.worker.core import Core
from synfire.worker.devices import Devices
from synfire.worker.hands import Hands
from synfire.worker.job import Job, Outcome
from synfire.worker.outgoing import joined
from synfire.worker.peers import READ, Peer, Watch
from synfire.worker.pulse import PulseThread
from synfire.worker.services import Services
from synfire.worker.settings import Settings
from synfire.worker.settling import Settling
from synfire.worker.streams import Streams

_EXPIRE_EVERY_S = 1.0


class Worker:
    """Hosts stages and answers frames until it is told to drain; `run` is its life."""

    def __init__(
        self,
        name: str,
        deployment: str,
        addresses: list[str],
        settings: Settings | None = None,
        watch: Watch | None = None,
        devices: Collection[str] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings or Settings()
        self.core: Core = Core(name, self.settings)
        self.builder = Builder(
            self.settings.parameter_bytes,
            lambda engine: self.devices.require(engine),
            self.settings.threads,
            self.settings.kept_bytes,
        )
        self._hands = Hands(self.settings.threads)
        self.local_origins: dict[str, Callable[[Packet], None]] = {}
        self._turned_s = time.monotonic()
        self.pulse = PulseThread(lambda: time.monotonic() - self._turned_s < self.settings.stuck_s)
        self._watch = watch or Watch()
        self.connections: Connections = Connections(
            Hello(PROTOCOL, deployment, name), self.core, self._watch, self._connect, self._take
        )
        self.devices = Devices(
            name, self.core.stages, self.connections.tell, devices, self.settings.twice, self._hands.run
        )
        self.core.membranes.found = self.devices.flipped
        self.connections.standing = lambda: self.devices.losses
        self._services = Services(self._watch, self.settings.links, self._finish)
        self._streams = Streams(self._watch, self.core, self._break)
        self._settling = Settling()
        self._listeners = [listen(address) for address in addresses]
        self._drain_until_s = math.inf
        self._expire_at_s = 0.0
        self._posted: deque[Callable[[], None]] = deque()
        self._woken, self.wake_socket = socket.socketpair()
        self._woken.setblocking(False)
        self.wake_socket.setblocking(False)
        self._stop = self._broken = False

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""
        return [address for _, address in self._listeners]

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new, since it is about to leave."""
        return self.connections.draining

    @property
    def ready(self) -> bool:
        """Whether it is counted on and has come to rest since it began, and is not about to leave."""
        return not self.draining and self._settling.over(time.monotonic())

    def run(self) -> int:
        """Serve until drained or stopped; 0 when nothing that was accepted is left unanswered."""
        self._watch.selector.register(self._woken, READ, self._on_wake)
        for listener, address in self._listeners:
            take = partial(self._accept, listener, address)
            self._watch.selector.register(listener, READ, lambda _, take=take: take())
        try:
            while not self._finished():
                self._turn()
            return 0 if self.core.idle and not self._broken else 1
        finally:
            self._close()

    def post(self, action: Callable[[], None]) -> None:
        """Have `action` called in the worker's thread soon. From any thread, or a signal handler."""
        self._posted.append(action)
        with contextlib.suppress(OSError):
            self.wake_socket.send(b"!")

    def drain(self) -> None:
        """Ask the gateways to send nothing new; `run` returns when all that was accepted is answered."""
        if not self.draining:
            self._drain_until_s = time.monotonic() + self.settings.drain_s
            self.connections.drain()

    def stop(self) -> None:
        """Leave at once."""
        self._stop = True

    def build(self, host: Host, graph: Graph | Buffer, then: Callable[[Hosted], None]) -> None:
        """Build and host a stage, then call `then` in the worker's thread."""

        def done(future: Future[Built]) -> None:
            self.post(lambda: then(self._host(host, future)))

        self.builder.build(host, graph, done)

    def unhost(self, model: str, stages: Collection[str] = ()) -> None:
        """Drop those stages of the model that are named; all where none is."""
        self.core.unhost(model, stages)
        self._services.leave(model, stages)
        self._streams.look_over()

    def prove(self, model: str, stage: str) -> str:
        """The stage's known answer; empty where it has none. Its device, if it has one, is examined first."""
        found = self.core.stages.get((model, stage))
        while found is not None and found.program is not None and self.devices.examine(found):
            with contextlib.suppress(DeviceFault):  # it broke meanwhile: again
                return known_answer(found.program)
        return ""

    def inject(self, order: Inject) -> Injected:
        """Break something of an emulated device on purpose, or flip a bit of a state that rests here. Raises as
        `Devices.inject` and `Core.flip` do."""
        stage = self.devices.bearer(order)
        if stage is None:
            return self.devices.inject(order, self.core.visited)
        if order.place:
            raise UserError(
                f"stage {stage.name} runs on a processor, where no bit can be named; leave out {order.place!r}"
            )
        return Injected(stage.name, self.core.flip(stage, order.seed))

    def restore(self, packet: Packet) -> None:
        """Give a session the state of a checkpoint. Raises as `Core.restore` does, and for a damaged packet."""
        if packet.fault is not None:
            raise packet.fault
        self.core.restore(cast(Restore, packet.message), dict(packet.arrays), time.monotonic())

    def describe(self) -> Description:
        """What it holds, and what its stages did so far."""
        core = self.core
        return Description(
            self.name, os.getpid(), len(core.requests), core.sessions, core.buffered_bytes, core.describe()
        )

    def answer(self, peer: Peer, message: AnyMessage) -> None:
        """Send a message to the peer that asked for it."""
        self._settling.answered(message, time.monotonic())
        self.connections.send(peer, Packet(message))

    def take_in(self, packet: Packet) -> None:
        """Take in a frame, in the worker's thread."""
        self.core.receive(packet, time.monotonic())

    def flush(self) -> None:
        """Send what the core has put out."""
        while self.core.outbox:
            leaving = tuple(self.core.outbox)
            self.core.outbox.clear()
            for outgoing in joined(leaving) if len(leaving) > 1 else leaving:
                if outgoing.origin in self.local_origins and not outgoing.address:
                    for packet in batches.part(outgoing.packet):
                        self.local_origins[outgoing.origin](packet)
                else:
                    self.connections.send_out(outgoing, later=len(leaving) > 1)
        self.connections.flush()

    def _turn(self) -> None:
        self._turned_s = time.monotonic()
        for key, events in self._watch.wait(self._patience_s()):
            key.data(events)
        now_s = time.monotonic()
        self.devices.look()
        job = None if self._full() else self.core.next_job(now_s)
        if job is not None:
            self._compute(job)
        self.connections.look(time.monotonic())
        self._streams.look(time.monotonic())
        self.flush()
        if now_s >= self._expire_at_s:
            self._expire_at_s = now_s + _EXPIRE_EVERY_S
            self.core.expire(now_s)
            self.flush()

    def _patience_s(self) -> float:
        if self._posted or (self.core.has_work and self.core.wake_s == math.inf and not self._full()):
            return 0.0
        now_s = time.monotonic()
        looks_s = min(self.connections.look_at_s, self._streams.look_at_s)
        due_s = min(self.core.wake_s, self._expire_at_s, self._drain_until_s, looks_s)
        return max(0.0, due_s - now_s)

    def _full(self) -> bool:
        return self.connections.full or self._services.full

    def _finished(self) -> bool:
        if self._stop or time.monotonic() >= self._drain_until_s:
            return True
        waiting = self.connections.awaiting_drain or self.connections.sending
        return self.draining and self.core.idle and not waiting

    def _compute(self, job: Job) -> None:
        if job.stage.program is None:
            self._services.compute(job)
            return
        if job.stage.streams:
            self._streams.begin(job)
            return
        outcomes, busy_s = self.devices.run(job)
        self.core.finish(job, outcomes, busy_s, time.monotonic())

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """A foreign service has answered."""
        self.core.finish(job, [outcome], 0.0, time.monotonic())

    def _break(self, lost: DeviceLost) -> None:
        """An engine's process has ended: leave at once, so that whoever replaces lost workers replaces this one."""
        LOGGER.error("worker %s leaves, since it has lost an engine: %s", self.name, lost)
        self._stop = self._broken = True

    def _connect(self, address: str) -> Link:
        return connect(address, f"the worker at {address}", self.settings.links)

    def _accept(self, listener: socket.socket, address: str) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            link = accept(listener, address, "a peer that has not said hello", self.settings.links)
            self.connections.accept(link)

    def _take(self, peer: Peer, packet: Packet) -> None:
        if isinstance(packet.message, Frame):
            self.take_in(packet)
        else:
            self._settling.asked(packet.message, time.monotonic())
            act(self, peer, packet)

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
            self._streams.look_over()
            if host.url:
                self._services.reach(host, built.graph)
        except Exception as error:
            if not isinstance(error, SynfireError):
                LOGGER.exception("%s: stage %s.%s cannot be built", self.name, host.model, host.stage)
            return Hosted(host.model, host.stage, *error_words(error))
        began_s = time.monotonic()
        answer = self.prove(host.model, host.stage)
        proof_s = time.monotonic() - began_s
        return Hosted(host.model, host.stage, "", "", built.build_s, answer, proof_s=proof_s, agreement=built.agreement)

    def _close(self) -> None:
        self.builder.close()
        self._hands.close()
        self.pulse.close()
        self._services.close()
        self._streams.close()
        self.connections.close()
        for listener, address in self._listeners:
            listener.close()
            unlink(address)
        self._watch.selector.close()
        self._woken.close()
        self.wake_socket.close()
