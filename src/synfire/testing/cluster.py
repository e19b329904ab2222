"""A whole deployment in one process: real cores, real routes, memory links, and an order of events drawn from a seed.

    async with Cluster({"m": (graph, plan)}, seed=7) as cluster:
        parts = [part async for part in cluster.routes["m"].answer(call)]

Nothing here waits for time: the clock moves only when nothing else can happen. So a test explores how frames, jobs and
cancellations can interleave, and a seed repeats what it found.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import cast

import numpy as np

from synfire.base.errors import Bug, SynfireError, TemporaryError
from synfire.deploy.hosting import hostings
from synfire.engines import ENGINES
from synfire.gateway.peer import Inbox
from synfire.gateway.route import WorkerRoute
from synfire.graph import Graph, flatten
from synfire.ops import Array
from synfire.plan import Plan
from synfire.testing.clock import FakeClock
from synfire.wire.links import MemoryLink
from synfire.wire.messages import (
    Advance,
    Cancel,
    Checkpoint,
    Failure,
    Forget,
    Frame,
    Restore,
    Restored,
    error_of,
    error_words,
)
from synfire.wire.stream import Packet, Reader, pack
from synfire.worker.core import Core
from synfire.worker.settings import Settings

GATEWAY_NAME = "gateway-test"


class ClusterPeer:
    """The gateway's connection to one core of a cluster; what `synfire.gateway.peer.WorkerPeer` is to a process."""

    def __init__(self, name: str, cluster: Cluster, link: MemoryLink) -> None:
        self.name = name
        self.lost: SynfireError | None = None
        self.draining = False
        self.inboxes: dict[str, Inbox] = {}
        self._cluster = cluster
        self._link = link
        self._restoring: deque[asyncio.Future[Restored]] = deque()

    def send(self, packet: Packet) -> None:
        if self.lost is not None:
            raise self.lost
        self._link.send(self._cluster.through_bytes(packet))
        self._cluster.wake()

    def register(self, request: str, inbox: Inbox) -> None:
        if self.lost is not None:
            raise self.lost
        self.inboxes[request] = inbox

    def release(self, request: str) -> None:
        self.inboxes.pop(request, None)

    async def restore(self, restore: Restore, state: Mapping[str, Array]) -> None:
        future: asyncio.Future[Restored] = asyncio.get_running_loop().create_future()
        self._restoring.append(future)
        if self.lost is not None:
            raise self.lost
        self._link.send(self._cluster.through_bytes(Packet(restore, state)))
        self._cluster.wake()
        restored = await future
        if restored.kind:
            raise error_of(restored)

    def take(self) -> None:
        """Hand what has arrived to the calls that wait for it."""
        for packet in self._link.receive():
            message = packet.message
            if isinstance(message, Frame) and message.request in self.inboxes:
                self.inboxes[message.request].put(message, packet.arrays)
            elif isinstance(message, Failure) and message.request in self.inboxes:
                self.inboxes[message.request].fail(error_of(message))
            elif isinstance(message, Restored):
                self._restoring.popleft().set_result(message)
            elif isinstance(message, Checkpoint):
                self._cluster.routes[message.model].keep(message, packet.arrays)

    def lose(self, error: SynfireError) -> None:
        self.lost = error
        for inbox in self.inboxes.values():
            inbox.fail(error)
        while self._restoring:
            self._restoring.popleft().set_exception(error)


class Cluster:
    """Models on cores, by worker name. `encode` sends every packet through bytes, cut at random places."""

    def __init__(
        self,
        models: Mapping[str, tuple[Graph, Plan]],
        seed: int = 0,
        settings: Settings | None = None,
        encode: bool = True,
        window: int = 0,
    ) -> None:
        self.clock = FakeClock()
        self.cores: dict[str, Core] = {}
        self.peers: dict[str, ClusterPeer] = {}
        self.routes: dict[str, WorkerRoute] = {}
        self.encode = encode
        self._settings = settings or Settings()
        self._rng = np.random.default_rng(seed)
        self._ends: dict[tuple[str, str], MemoryLink] = {}
        self._scheduled = False
        self._closed = False
        for worker in dict.fromkeys(worker for _, plan in models.values() for worker in plan.workers):
            self._add_worker(worker)
        for name, (graph, plan) in models.items():
            self._add_model(name, graph, plan, window)

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True

    @property
    def quiet(self) -> bool:
        """Whether no core holds anything of any request, and none is on the way."""
        return all(core.idle and not core.buffered_bytes and not core.outbox for core in self.cores.values())

    def kill(self, worker: str) -> None:
        """The worker is gone, with all that it held."""
        error = TemporaryError(f"worker {worker} was killed; try again")
        core = self.cores.pop(worker)
        for (here, there), link in list(self._ends.items()):
            if here == worker:
                link.close()
                del self._ends[here, there]
        for other in self.cores.values():
            self._ends.pop((other.who, worker), None)
            other.lost_address(worker, error)
            other.lost_senders(core.stages, error)
        self.peers[worker].lose(error)
        self.wake()

    async def settle(self) -> None:
        """Return when nothing more can happen."""
        while self._scheduled:
            await asyncio.sleep(0)

    def wake(self) -> None:
        """Let the next event happen when the event loop comes round."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._step)

    def through_bytes(self, packet: Packet) -> Packet:
        """The packet as its receiver would read it from a socket."""
        if not self.encode:
            return packet
        data = b"".join(bytes(each) for each in pack(packet)[0])
        reader, found = Reader(1 << 26), []
        while data:
            size = int(self._rng.integers(1, len(data) + 1))
            found += reader.feed(data[:size])
            data = data[size:]
        (packet,) = found
        return packet

    def _add_worker(self, name: str) -> None:
        self.cores[name] = Core(name, self._settings)
        for other in [*self.cores, GATEWAY_NAME]:
            if other != name:
                self._ends[other, name], self._ends[name, other] = MemoryLink.pair(other, name)
        self.peers[name] = ClusterPeer(name, self, self._ends[GATEWAY_NAME, name])

    def _add_model(self, name: str, graph: Graph, plan: Plan, window: int) -> None:
        engine = ENGINES[plan.engine]()
        route = WorkerRoute(graph, plan, self.peers, GATEWAY_NAME, self.clock)
        route.window = window or route.window
        for each in hostings(flatten(graph), plan, {worker: worker for worker in self.cores}, window=route.window):
            self.cores[each.worker].host(each.host, each.graph, engine.build(each.graph))
        self.routes[name] = route

    def _step(self) -> None:
        """One event of those that are possible, drawn at random."""
        self._scheduled = False
        events = list(self._events())
        if events:
            kind, name = events[int(self._rng.integers(len(events)))]
            if kind == "job":
                self._run_job(self.cores[name])
            elif kind == "answers":
                self.peers[name].take()
            else:
                self._deliver(self.cores[name])
            for core in self.cores.values():
                self._send(core)
            self.wake()
        elif (wake_s := min((core.wake_s for core in self.cores.values()), default=math.inf)) < math.inf:
            self.clock.advance(max(0.0, wake_s - self.clock.now_s()))
            self.wake()

    def _events(self) -> Iterator[tuple[str, str]]:
        for (here, there), link in self._ends.items():
            if link.waiting:
                yield ("answers", there) if here == GATEWAY_NAME else ("frames", here)
        for name, core in self.cores.items():
            if core.has_work and (core.wake_s == math.inf or core.wake_s <= self.clock.now_s()):
                yield "job", name

    def _run_job(self, core: Core) -> None:
        job = core.next_job(self.clock.now_s())
        if job is not None:
            core.finish(job, *job.run(), self.clock.now_s())

    def _deliver(self, core: Core) -> None:
        full = [link for (here, _), link in self._ends.items() if here == core.who and link.waiting]
        for packet in full[int(self._rng.integers(len(full)))].receive():
            match packet.message:
                case Frame():
                    core.receive(packet, self.clock.now_s())
                case Cancel(request):
                    core.cancel(request)
                case Forget(model, session):
                    core.forget(model, session)
                case Restore():
                    self._restore(core, packet)
                case Advance(request, number):
                    core.advance(request, number)
                case other:
                    raise Bug(f"a cluster carries no {type(other).__name__}")

    def _restore(self, core: Core, packet: Packet) -> None:
        words = ("", "")
        try:
            core.restore(cast(Restore, packet.message), dict(packet.arrays), self.clock.now_s())
        except SynfireError as error:
            words = error_words(error)
        self._ends[core.who, GATEWAY_NAME].send(Packet(Restored(*words)))

    def _send(self, core: Core) -> None:
        while core.outbox:
            outgoing = core.outbox.popleft()
            link = self._ends.get((core.who, outgoing.address or GATEWAY_NAME))
            if link is not None:
                link.send(self.through_bytes(outgoing.packet))
