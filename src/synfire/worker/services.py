"""Foreign services that compute stages for a worker, each called along a link of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from synfire.graph import Graph
from synfire.wire.links import Limits
from synfire.wire.messages import Failure, Frame, Host, error_of
from synfire.wire.stream import Packet
from synfire.worker.job import Job, Outcome
from synfire.worker.peers import Peer, Watch


class Services:
    """The services of a worker's stages, by (model, stage). `finish` is given each job when its answer has come."""

    def __init__(self, watch: Watch, limits: Limits, finish: Callable[[Job, Outcome], None]) -> None:
        self._watch = watch
        self._limits = limits
        self._finish = finish
        self._peers: dict[tuple[str, str], Peer] = {}
        self._jobs: dict[tuple[str, str], deque[Job]] = {}

    @property
    def full(self) -> bool:
        """Whether some service lags so far behind that nothing more should be made for it."""
        return any(peer.link.full for peer in self._peers.values())

    def reach(self, host: Host, graph: Graph) -> None:
        """Call `host.url` for the jobs of this stage from now on."""
        from synfire.wire.links.http import HttpLink, HttpService  # only here: it imports an HTTP client

        key = (host.model, host.stage)
        self._leave(key)
        peer = Peer(HttpLink(HttpService(host.url, graph.inputs, graph.output_signals(), self._limits)))
        self._peers[key], self._jobs[key] = peer, deque()
        self._watch.add(peer, lambda _: self._receive(key))

    def compute(self, job: Job) -> None:
        """Send a job, which is one block of one visit: a stage without a program is `single`."""
        frame, block = job.visits[0].first, job.blocks[0]
        message = Frame(
            frame.model,
            frame.receiver,
            frame.receiver,
            frame.request,
            frame.origin,
            block.number,
            block.first_step,
            block.steps,
            block.last,
        )
        self._jobs[job.stage.key].append(job)
        self._peers[job.stage.key].link.send(Packet(message, job.inputs[0]))

    def leave(self, model: str, names: Collection[str] = ()) -> None:
        """Close the links of those stages of the model that are named; of all where none is."""
        for key in [key for key in self._peers if key[0] == model and (not names or key[1] in names)]:
            self._leave(key)

    def close(self) -> None:
        for key in list(self._peers):
            self._leave(key)

    def _receive(self, key: tuple[str, str]) -> None:
        for packet in self._peers[key].link.receive():
            failure = packet.message
            error = error_of(failure) if isinstance(failure, Failure) else None
            self._finish(self._jobs[key].popleft(), Outcome({}, packet.arrays, error))

    def _leave(self, key: tuple[str, str]) -> None:
        peer = self._peers.pop(key, None)
        if peer is not None:
            self._watch.remove(peer)
            peer.link.close()
