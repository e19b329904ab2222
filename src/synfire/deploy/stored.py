"""What loading and unloading a model of the store takes of a deployment: `synfire.deploy.on_demand.Hands`."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from synfire.base.errors import SynfireError
from synfire.control.state import SPARE
from synfire.deploy.ledger import Wanted
from synfire.deploy.local import LocalDeployment
from synfire.deploy.on_demand import Found
from synfire.deploy.remote import RemoteGateways
from synfire.deploy.whole import memory_of, plan_whole
from synfire.engines.profiles.machine import free_bytes
from synfire.formats.bundle import store_graph
from synfire.store import BlobStore
from synfire.wire.messages import Residents, Unwanted
from synfire.zoo import find

_BOUNDLESS = 1 << 62


@dataclass
class StoreHands:
    """Plans models of the store, each for a worker of its own, which is ended with it. `serve` and `withdraw` are the controller's,
    which is number `before` of its deployment; `blobs` is where all processes find graphs, `parallel` how many answers a model makes at a
    time."""

    deployment: LocalDeployment
    gateways: RemoteGateways
    blobs: BlobStore
    serve: Callable[[Wanted], Awaitable[str]]
    withdraw: Callable[[str], Awaitable[None]]
    before: int = 0
    parallel: int | None = None
    _count: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def find(self, model: str) -> Found:
        found = find(model, {"streams": self.parallel} if self.parallel else None)
        planned = plan_whole(found, self._worker())
        wanted = Wanted(
            name=found.name,
            version=found.version,
            source=found.source,
            digest=store_graph(planned.graph, self.blobs),
            plan=planned.plan,
            priority=self.deployment.settings.priorities.get(found.name, 0),
            on_demand=True,
        )
        return Found(wanted, memory_of(planned.graph))

    async def load(self, wanted: Wanted) -> None:
        try:
            await self.serve(wanted)
        except SynfireError:
            for worker in wanted.plan.workers:
                self.deployment.healing.dismiss(worker)
            raise

    async def unload(self, model: str, idle_s: float) -> bool:
        view = self.deployment.healing.controller.state.models.get(model)
        if view is not None:
            if not view.settled or not await self.gateways.rest(model, idle_s):
                return False
            await self.withdraw(model)
        return True

    def refuse(self, refusal: Unwanted) -> None:
        self.gateways.refuse(refusal)

    def reside(self, residents: Residents) -> None:
        self.gateways.reside(residents)

    def free_bytes(self) -> int:
        """This machine's, or, where models are on others' workers, what these have left; until one has joined there is no bound."""
        state = self.deployment.healing.controller.state
        if state.begins:
            return free_bytes()
        rooms = [state.room(name) for name, each in state.workers.items() if state.living(name) and each.role != SPARE]
        return int(min(sum(rooms), _BOUNDLESS)) if rooms else _BOUNDLESS

    def _worker(self) -> str:
        """A name that no worker has or had: one that leaves may still be there."""
        names = (f"worker-{self.before}-{n}" if self.before else f"worker-{n}" for n in self._count)
        return next(name for name in names if name not in self.deployment.workers)
