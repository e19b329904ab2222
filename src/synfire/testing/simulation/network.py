"""Links of a simulated machine, and what its deployment hears of workers by them, on a `VirtualLoop`.

A link keeps the order of what it carries; each packet takes a time of its own, and packets of other links may overtake it.
When a worker is killed, what it had not sent is gone, and perhaps some of what was on the way.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

from synfire.base.errors import TemporaryError
from synfire.deploy.launch import Launch
from synfire.testing.simulation.loop import Life, VirtualLoop
from synfire.testing.simulation.worker import SimulatedProcess, SimulatedWorker
from synfire.wire.links import Limits
from synfire.wire.stream import Packet, Reader, pack
from synfire.worker.settings import Settings

GATEWAY_NAME = "gateway"

LINK_S = 0.0004
"""How long a packet is on its way at the mean, in virtual seconds."""

NOTICE_S = 0.003
"""How long it takes at the mean until a death, a signal or a broken link is noticed."""

SUSPECTED_S = 0.3
"""How long a worker may be silent before it is taken to be dead."""


class Network:
    """All links and workers of one simulation. `tell` takes down what happens; `inspect` is called after a worker's turn."""

    def __init__(self, loop: VirtualLoop, seed: int, tell: Callable[[str, str], None], encoded: bool = False) -> None:
        self.loop = loop
        self.tell = tell
        self._encoded = encoded
        self.inspect: Callable[[SimulatedWorker], None] = lambda worker: None
        self.passing: Callable[[SimulatedLink, Packet], None] = lambda link, packet: None
        self.numbers = itertools.count(1000)
        self.ends: dict[int, SimulatedLink] = {}
        self.workers: dict[str, SimulatedWorker] = {}
        self.processes: list[SimulatedProcess] = []
        self.failing_starts = 0
        self._severed: dict[frozenset[str], float] = {}
        self.heartbeats: SimulatedHeartbeat | None = None
        self.listeners: dict[str, SimulatedListener] = {}
        self._rng = np.random.default_rng(seed)

    @property
    def living(self) -> list[str]:
        """Workers that run, by name."""
        return sorted(worker.name for worker in self.workers.values() if worker.alive)

    def worker(self, name: str) -> SimulatedWorker:
        """The living worker of that name."""
        return next(each for each in self.workers.values() if each.name == name and each.alive)

    def about(self, mean_s: float) -> float:
        """A duration around `mean_s`."""
        return float(self._rng.exponential(mean_s))

    def notice_s(self) -> float:
        """How long it takes until something is noticed."""
        return self.about(NOTICE_S)

    def between(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def connect(self, address: str, peer: str, limits: Limits | None = None, owner: str = "") -> SimulatedLink:
        """A link to whoever listens at `address`; see `synfire.wire.links.connect`."""
        life, worker, listener = Life.here(), self.workers.get(address), self.listeners.get(address)
        owner = owner or (life.name if life is not None else GATEWAY_NAME)
        if worker is not None and self._severed.get(frozenset((owner, worker.name)), 0.0) > self.loop.time():
            raise TemporaryError(f"cannot reach {peer} at {address}: no way leads there; try again when it is mended")
        if worker is not None and worker.alive:
            near, far = self.pair(owner, worker.name)
            self.loop.outside(worker.accept, far)
        elif listener is not None and listener.open:
            near, far = self.pair(owner, listener.owner)
            listener.call(far)
        else:
            raise TemporaryError(f"cannot reach {peer} at {address}: nobody listens; try again when it is back")
        return near

    def pair(self, one: str, other: str) -> tuple[SimulatedLink, SimulatedLink]:
        """Both ends of a new connection."""
        near, far = SimulatedLink(self, one, other), SimulatedLink(self, other, one)
        near.far, far.far = far, near
        self.ends |= {near.fileno(): near, far.fileno(): far}
        return near, far

    def listen(self, address: str) -> tuple[SimulatedListener, str]:
        """Listen there, as the process that runs; see `synfire.wire.links.listen`."""
        self.listeners[address] = listener = SimulatedListener(self)
        return listener, address

    def break_link(self, one: str, other: str) -> bool:
        """Break the connections between two workers that live, for both; whether there were any."""
        found = [end for end in list(self.ends.values()) if {end.owner, end.holder} == {one, other}]
        for end in found:
            end.cut(self._rng.random())
        return bool(found)

    def sever(self, one: str, other: str, duration_s: float) -> None:
        """For so long two workers that live do not reach each other; everybody else reaches both."""
        self._severed[frozenset((one, other))] = self.loop.time() + duration_s
        self.break_link(one, other)

    def through_bytes(self, packet: Packet) -> Packet:
        """The packet as its receiver would read it from a socket, where packets are encoded."""
        if not self._encoded:
            return packet
        data = b"".join(bytes(each) for each in pack(packet)[0])
        (read,) = Reader(1 << 26).feed(data)
        return msgspec.structs.replace(read, raw=bytes(read.raw))

    def cut_off(self, worker: str) -> None:
        """Whoever is no worker loses its connection to a worker, which hears nothing of that."""
        names = {each.name for each in self.workers.values()}
        for end in [each for each in self.ends.values() if each.holder == worker and each.owner not in names]:
            end.cut(self._rng.random())

    def lose_ends(self, owner: str) -> None:
        """The holder of these ends is dead: the others hear of it, also those whom it was cut off from."""
        for end in list(self.ends.values()):
            if end.owner == owner:
                del self.ends[end.fileno()]
            elif end.holder == owner:
                end.cut(1.0 if self._rng.random() < 0.5 else self._rng.random())

    def hang(self, worker: SimulatedWorker, duration_s: float) -> None:
        """The worker's process stands still; it goes on after `duration_s`, unless it is taken to be dead before."""
        worker.paused = True
        now_s = self.loop.time()
        self.loop.later(duration_s, worker.go_on)
        self.suspect(worker, "hang", SUSPECTED_S + self.about(NOTICE_S), now_s)

    def accuse(self, worker: SimulatedWorker) -> None:
        """The worker is taken to be dead, though it lives."""
        if self.heartbeats is not None:
            self.heartbeats.accuse(worker, "hang", self.loop.time())

    def suspect(self, worker: SimulatedWorker, why: str, after_s: float, last_s: float) -> None:
        """Have the heartbeats checked some time later, by whoever follows them then."""
        self.loop.later(after_s, self._check, worker, why, last_s)

    def _check(self, worker: SimulatedWorker, why: str, last_s: float) -> None:
        if self.heartbeats is not None:
            self.heartbeats.check(worker, why, last_s)

    def start(self, launch: Launch, start: object = None) -> SimulatedProcess:
        """Start a worker; see `synfire.deploy.process.WorkerProcess.start`."""
        worker = SimulatedWorker(self, launch.name, launch.deployment, launch.address, Settings.of(launch.settings))
        fails = self.failing_starts > 0
        self.failing_starts -= fails
        process = SimulatedProcess(self, worker, launch.address, fails)
        self.processes.append(process)
        return process


class SimulatedHeartbeat:
    """Notices who is silent; what `synfire.deploy.heartbeat.Heartbeat` is to real workers."""

    def __init__(self, network: Network, suspect: Callable[[str, str, float], None]) -> None:
        self._network = network
        self._suspect = suspect
        self._followed: dict[str, SimulatedWorker] = {}
        self._life = Life.here()
        network.heartbeats = self

    def follow(self, name: str, address: str, deployment: str, who: str, limits: Limits | None = None) -> None:
        """Expect heartbeats of a worker. Raises `TemporaryError` when it is gone."""
        worker = self._network.workers.get(address)
        if worker is None or not worker.alive:
            raise TemporaryError(f"cannot reach worker {name} at {address}; try again when it is back")
        self._followed[name] = worker
        if worker.paused:
            self._network.suspect(worker, "hang", SUSPECTED_S, self._network.loop.time())

    def forget(self, name: str) -> None:
        """Expect nothing of the worker any more."""
        self._followed.pop(name, None)

    def confirm(self, name: str) -> bool:
        """Whether the worker is silent; nobody is who is not told of anyway."""
        return False

    def close(self) -> None:
        """Forget all."""
        self._followed.clear()

    def check(self, worker: SimulatedWorker, why: str, last_s: float) -> None:
        """The worker may be silent: tell, if it is and somebody listens."""
        if worker.paused or not worker.alive:
            self.accuse(worker, why, last_s)

    def accuse(self, worker: SimulatedWorker, why: str, last_s: float) -> None:
        """The worker is taken to be dead, rightly or not."""
        if self._followed.get(worker.name) is not worker:
            return
        del self._followed[worker.name]
        if self._life is None:
            self._suspect(worker.name, why, last_s)
        elif not self._life.over:
            self._life.run(self._suspect, worker.name, why, last_s)


class SimulatedListener:
    """A socket that listens. It belongs to the process that has opened it, and is closed with it."""

    def __init__(self, network: Network) -> None:
        life = Life.here()
        self.owner = life.name if life is not None else GATEWAY_NAME
        self._life = life
        self._network = network
        self._number = next(network.numbers)
        self._calling: deque[SimulatedLink] = deque()
        self._closed = False

    @property
    def open(self) -> bool:
        return not self._closed and not (self._life is not None and self._life.over)

    def fileno(self) -> int:
        return self._number

    def call(self, link: SimulatedLink) -> None:
        """Somebody connects."""
        self._calling.append(link)
        self._network.loop.readable(self._number)

    def accept(self) -> tuple[SimulatedLink, str]:
        """The next one who has connected. Raises `BlockingIOError` when there is none."""
        if not self._calling:
            raise BlockingIOError
        return self._calling.popleft(), ""

    def close(self) -> None:
        """Take nobody any more; who waits finds that nobody is there."""
        self._closed = True
        while self._calling:
            self._calling.popleft().close()


class SimulatedLink:
    """One end of a connection; a `synfire.wire.links.Link`. `owner` is who holds this end, `peer` who the other."""

    pending = full = False

    def __init__(self, network: Network, owner: str, peer: str) -> None:
        self.owner = owner
        self.peer = peer
        self.far: SimulatedLink | None = None
        self._network = network
        self._number = next(network.numbers)
        self._coming: deque[Packet | None] = deque()
        self._arrived: deque[Packet] = deque()
        self._latest_s = 0.0
        self._ended = self._closed = False

    @property
    def holder(self) -> str:
        """Who is at the other end; `peer` may come to say it in more words."""
        return self.far.owner if self.far is not None else ""

    @property
    def waiting(self) -> bool:
        """Whether `receive` has something to give, or to raise."""
        return not self._closed and (bool(self._arrived) or self._ended)

    def fileno(self) -> int:
        return self._number

    def send(self, packet: Packet, later: bool = False) -> int:
        if self._closed or self._ended or self.far is None:
            raise self._broken()
        self._network.passing(self, packet)
        self.far._carry(self._network.through_bytes(packet))
        return 0

    def flush(self) -> None:
        """Nothing ever waits here."""

    def receive(self) -> list[Packet]:
        packets = list(self._arrived)
        self._arrived.clear()
        if not packets and (self._ended or self._closed):
            raise self._broken()
        if self._ended:
            self._network.loop.readable(self._number)
        return packets

    def close(self) -> None:
        """Free this end; what was sent still arrives, and then the end of it."""
        if not self._closed:
            self._closed = True
            self._arrived.clear()
            self._network.ends.pop(self._number, None)
            if self.far is not None:
                self.far._carry(None)

    def cut(self, keep: float) -> None:
        """The connection breaks for the owner of this end, who still gets the part `keep` of what is on the way."""
        for _ in range(round((1 - keep) * len(self._coming))):
            self._coming.pop()
        self._carry(None)
        self._network.ends.pop(self._number, None)

    def _carry(self, packet: Packet | None) -> None:
        """Have a packet, or the end, arrive at this end some time later, after what is on the way already."""
        if self._number not in self._network.ends:
            return
        network = self._network
        mean_s = LINK_S if packet is not None else NOTICE_S
        self._latest_s = max(self._latest_s, network.loop.time() + network.about(mean_s))
        self._coming.append(packet)
        network.loop.later(self._latest_s - network.loop.time(), self._arrive)

    def _arrive(self) -> None:
        if self._closed or self._ended or not self._coming:
            return
        packet = self._coming.popleft()
        if packet is None:
            self._ended = True
            self._coming.clear()
        else:
            self._arrived.append(packet)
        self._network.loop.readable(self._number)

    def _broken(self) -> TemporaryError:
        return TemporaryError(f"the link to {self.peer} is broken; try again")
