"""The routes of the models that one gateway serves, and its connections to the workers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping

import msgspec

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import OutOfReach, SynfireError, TemporaryError
from synfire.gateway.blame import Blame
from synfire.gateway.peer import WorkerPeer
from synfire.gateway.route import Again, WorkerRoute
from synfire.graph import Graph
from synfire.ops import Array
from synfire.plan import Plan
from synfire.wire.links import Limits
from synfire.wire.messages import Checkpoint, Description


class Routes:
    """Does what whoever controls the deployment wants of a gateway. Made and used in one event loop.

    `who` is this gateway's name, which no other has or had. With `protected`, somebody replaces lost workers: calls wait then.
    """

    def __init__(
        self,
        who: str,
        deployment: str,
        limits: Limits | None = None,
        protected: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.who = who
        self.by_model: dict[str, WorkerRoute] = {}
        self.peers: dict[str, WorkerPeer] = {}
        self._urls: dict[str, str] = {}
        self._deployment = deployment
        self._limits = limits
        self._protected = protected
        self._clock = clock
        self._ids = itertools.count(1)
        self._told: Callable[[str, str, float], None] = lambda worker, by, for_s: None
        self._addresses: dict[str, str] = {}
        self._blame = Blame(clock or SystemClock(), self._unreachable)

    def on_cut(self, act: Callable[[str, str, float], None]) -> None:
        """Call `act` with a worker's name when the connection to it breaks. When another worker cannot reach it, also with that
        one's name, and for how many seconds it has tried; else these are empty, and 0. One that is found elsewhere by that one than from here
        is called by that address."""
        self._told = act

    async def reach(self, worker: str, address: str, url: str = "") -> None:
        """Connect to a worker, which answers HTTP at `url`. Raises `TemporaryError` when it is not there."""
        peer = await WorkerPeer.reach(worker, address, self._deployment, self.who, self._limits)
        peer.on_lost(lambda _: self._cut(worker, peer))
        peer.on_checkpoint(self._checkpoint)
        self.peers[worker], self._urls[worker], self._addresses[worker] = peer, url, address

    def part(self, worker: str) -> None:
        """Close the connection to a worker; calls that wait for it are interrupted. One that is not there is no error."""
        peer = self.peers.pop(worker, None)
        self._urls.pop(worker, None)
        self._addresses.pop(worker, None)
        if peer is not None:
            peer.close()

    async def serve(self, model: str, graph: Graph, plan: Plan, epoch: int = 0) -> None:
        """Send calls of a model along `plan` from now on."""
        self.by_model[model] = WorkerRoute(
            graph, plan, self.peers, self.who, self._clock, self._protected, self._ids, epoch
        )
        self.by_model[model].on_unreachable = self._failed
        self._listen()
        self._tell_missing(plan)

    async def suspend(self, model: str, epoch: int) -> None:
        """Fence: interrupt the model's calls and hold them, for a way of `epoch`."""
        self.by_model[model].suspend()

    async def resume(self, model: str, plan: Plan, epoch: int) -> Again:
        """Send the model's calls along another way; what begins again there."""
        self._tell_missing(plan)
        return self.by_model[model].resume(plan, self.peers, epoch)

    async def fail(self, model: str, epoch: int, error: SynfireError) -> None:
        """Answer the model's calls by an error, until `resume`."""
        self.by_model[model].fail(error)

    async def remove(self, model: str) -> None:
        """Serve the model no longer; its calls in flight fail."""
        self.by_model.pop(model).fail(TemporaryError(f"model {model!r} is being unloaded; try again later"))

    def forsake(self) -> None:
        """Nobody is left who could replace a worker: calls that wait for that are answered by an error, and later ones too."""
        gone = TemporaryError("the deployment has ended: its supervisor is gone; start it again with `synfire serve …`")
        for route in self.by_model.values():
            route.fail(gone)

    async def describe(self) -> dict[str, Description]:
        """What each worker hosts and did so far."""
        living = {name: peer for name, peer in self.peers.items() if peer.lost is None}
        found = await asyncio.gather(*(peer.describe() for peer in living.values()))
        return {
            name: msgspec.structs.replace(said, url=self._urls.get(name, ""))
            for name, said in zip(living, found, strict=True)
        }

    def close(self) -> None:
        """Part from all workers."""
        for worker in list(self.peers):
            self.part(worker)

    def _cut(self, worker: str, peer: WorkerPeer) -> None:
        if self.peers.get(worker) is peer:
            del self.peers[worker], self._urls[worker], self._addresses[worker]
            if not peer.draining:
                self._told(worker, "", 0.0)

    def _failed(self, report: OutOfReach) -> None:
        self._blame.failed(report)
        self._listen()

    def _passed(self, plan: Plan) -> None:
        """A call was answered along a plan: its workers have reached each other. Of a worker that is called otherwise from another machine nobody
        here knows which one it is: it may be any that the other one sends to."""
        homes = {stage.name: stage.worker for stage in plan.stages}
        ways = [
            (homes[each.receiver], homes[each.sender])
            for each in plan.links
            if {each.sender, each.receiver} <= homes.keys()
        ]
        known = set(self._addresses.values())
        for address, by in tuple(self._blame.doubted):
            if any(
                by == sender and (address == self._addresses.get(to) or address not in known) for to, sender in ways
            ):
                self._blame.passed((address, by))
        self._listen()

    def _listen(self) -> None:
        """Be told of answered calls while that says something."""
        for route in self.by_model.values():
            route.on_answered = self._passed if self._blame.doubted else None

    def _unreachable(self, address: str, by: str, for_s: float) -> None:
        """A worker cannot reach the one at this address, whatever the gateway can."""
        known = [name for name, place in self._addresses.items() if place == address]
        if not known and address.startswith("tls:"):  # from another machine those of this one are found elsewhere
            known = [address]
        for worker in known:
            self._told(worker, by, for_s)

    def _tell_missing(self, plan: Plan) -> None:
        """What was lost before anybody listened shall be told, too."""
        for worker in plan.workers:
            if worker not in self.peers:
                asyncio.get_running_loop().call_soon(self._told, worker, "", 0.0)

    def _checkpoint(self, message: Checkpoint, state: Mapping[str, Array]) -> None:
        route = self.by_model.get(message.model)
        if route is not None:
            route.keep(message, state)
