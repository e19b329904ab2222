"""Workers of a simulated machine: the real `synfire.worker.worker.Worker` without its sockets, threads and clock."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from synfire.base.errors import PermanentError
from synfire.deploy.process import Announcement
from synfire.testing.simulation.loop import VirtualLoop
from synfire.worker.job import Job, Outcome
from synfire.worker.peers import READ, Peer
from synfire.worker.settings import Settings
from synfire.worker.worker import Worker

if TYPE_CHECKING:
    from synfire.testing.simulation.network import Network, SimulatedLink

START_S = (0.3, 1.2)
"""How long a worker takes to start, in virtual seconds: from, to."""

JOB_S = 0.001
"""How long a job takes at the mean."""

BUILD_S = 0.01
"""How long a stage takes to be built at the mean."""

TURN_S = 0.00004
"""How long a worker takes at the mean until it looks at what has arrived."""


class SimulatedProcess:
    """A worker's process as its deployment sees it; what `synfire.deploy.process.WorkerProcess` is on a real machine."""

    def __init__(self, network: Network, worker: SimulatedWorker, address: str, fails: bool) -> None:
        self.name = worker.name
        self.pid = next(network.numbers)
        self.announcement: Announcement | None = None
        self.reprieve_s = 0.0
        self.worker = worker
        worker.process = self
        self._network = network
        self._address = address
        self._fails = fails
        self._code: int | None = None
        self._noticed: asyncio.Future[int] = network.loop.create_future()

    @property
    def ended(self) -> bool:
        return self._code is not None

    @property
    def running(self) -> bool:
        return not self._noticed.done()

    async def ready(self, timeout_s: float) -> Announcement:
        await asyncio.sleep(self._network.between(*START_S))
        if self._fails:
            self._network.tell(self.name, "fails to start")
            self.die(1)
        if self._code is not None:
            raise PermanentError(await self.obituary())
        self.worker.alive = True
        self._network.workers[self._address] = self.worker
        self._network.tell(self.name, "is ready")
        self.announcement = Announcement(self.name, self.pid, [self._address])
        return self.announcement

    async def exited(self) -> int:
        return await asyncio.shield(self._noticed)

    async def obituary(self) -> str:
        code = await self.exited()
        return f"worker {self.name} {'was killed' if code < 0 else f'left with exit code {code}'}"

    def terminate(self) -> None:
        if self.running:
            self._network.loop.later(self._network.notice_s(), self._terminated)

    def kill(self) -> None:
        """End it, a little later: until then it may still do harm."""
        if self.running:
            self._network.loop.later(self._network.notice_s() + self.reprieve_s, self.die, -9)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: one to leave, or one that ends it."""
        {signal.SIGTERM: self.terminate, signal.SIGKILL: self.kill}[number]()

    async def end(self, grace_s: float) -> int:
        try:
            return await asyncio.wait_for(self.exited(), grace_s)
        except TimeoutError:
            self.die(-9)
            return await self.exited()

    def die(self, code: int) -> None:
        """The process is no more; the one who watches it notices soon."""
        if self._code is not None:
            return
        self._code = code
        was_alive, self.worker.alive = self.worker.alive, False
        self.worker.core.outbox.clear()
        if was_alive:
            self._network.tell(self.name, "is dead" if code else "has left")
            self._network.lose_ends(self.name)
            self._network.suspect(self.worker, "broken link", self._network.notice_s(), self._network.loop.time())
        self._network.loop.later(self._network.notice_s(), self._notice)

    def _terminated(self) -> None:
        if self.worker.alive:
            self.worker.terminate()
        else:  # it has not come so far as to take signals
            self.die(-15)

    def _notice(self) -> None:
        if not self._noticed.done():
            self._noticed.set_result(self._code or 0)


class SimulatedWorker(Worker):
    """A worker whose sockets, threads and clock are simulated. Its turns follow those of `Worker.run`."""

    process: SimulatedProcess

    def __init__(self, network: Network, name: str, deployment: str, address: str, settings: Settings) -> None:
        self._network = network
        self._scheduled = self._computing = False
        super().__init__(name, deployment, [], settings, _Watched(network.loop, self.wake))  # type: ignore[arg-type]
        self._woken.close()
        self.wake_socket.close()
        self.builder._thread.shutdown(wait=False)
        self.builder._thread = _VirtualThread(network)  # type: ignore[assignment]
        self.address = address
        self.alive = self.paused = False

    def accept(self, link: SimulatedLink) -> None:
        """Somebody has connected."""
        self.connections.accept(link)

    def terminate(self) -> None:
        """SIGTERM."""
        self.post(self.drain)
        self._network.loop.later(self.settings.drain_s + 0.001, self.wake)

    def go_on(self) -> None:
        """SIGCONT."""
        self.paused = False
        self.wake()

    def post(self, action: Callable[[], None]) -> None:
        self._posted.append(action)
        self.wake()

    def wake(self) -> None:
        """Have a turn soon."""
        if not self._scheduled and not self._computing:
            self._scheduled = True
            self._network.loop.later(self._network.about(TURN_S), self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if not self.alive or self.paused or self._computing:
            return
        while self._posted:
            self._posted.popleft()()
        self._watch.read()  # type: ignore[attr-defined]
        job = self.core.next_job(self._network.loop.time())
        if job is not None:
            self._compute(job)
        self.flush()
        self._network.inspect(self)
        if self._finished():
            self.process.die(0 if self.core.idle else 1)
        elif self.core.has_work or self._watch.waiting:  # type: ignore[attr-defined]
            self.wake()

    def _compute(self, job: Job) -> None:
        self._computing = True
        outcomes, _ = job.run()
        self._network.loop.later(self._network.about(JOB_S), self._computed, job, outcomes)

    def _computed(self, job: Job, outcomes: list[Outcome]) -> None:
        if not self.alive:
            return
        if self.paused:
            self._network.loop.later(0.01, self._computed, job, outcomes)
            return
        self._computing = False
        self.core.finish(job, outcomes, 0.0, self._network.loop.time())
        self.flush()
        self._network.inspect(self)
        self.wake()

    def _connect(self, address: str) -> SimulatedLink:
        return self._network.connect(address, f"the worker at {address}", owner=self.name)


class _Watched:
    """What `synfire.worker.peers.Watch` is to sockets."""

    def __init__(self, loop: VirtualLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake
        self._acts: dict[Peer, Callable[[int], None]] = {}

    @property
    def waiting(self) -> bool:
        return any(_link(peer).waiting for peer in self._acts)

    def add(self, peer: Peer, act: Callable[[int], None]) -> None:
        peer.watched = READ
        self._acts[peer] = act
        self._loop.add_reader(peer.link.fileno(), self._wake)

    def refresh(self, peer: Peer) -> None:
        """Simulated links have nothing to write later."""

    def remove(self, peer: Peer) -> None:
        if peer.watched:
            peer.watched = 0
            del self._acts[peer]
            self._loop.remove_reader(peer.link.fileno())

    def read(self) -> None:
        for peer, act in list(self._acts.items()):
            if peer.watched and _link(peer).waiting:
                act(READ)


def _link(peer: Peer) -> SimulatedLink:
    link: Any = peer.link
    return link


class _VirtualThread(Executor):
    """One thing after the other, each taking some time."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._free_s = 0.0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        loop = self._network.loop
        self._free_s = max(self._free_s, loop.time()) + self._network.about(BUILD_S)
        loop.later(self._free_s - loop.time(), _work, future, fn, args, named)
        return future


def _work(future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> None:
    try:
        future.set_result(fn(*args, **named))
    except Exception as error:
        future.set_exception(error)
