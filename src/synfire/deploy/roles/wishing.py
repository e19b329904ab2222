"""Models that are asked for by HTTP, in one deployment: noted, planned in processes of their own, served, and scaled by their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from synfire.base.errors import UserError
from synfire.deploy.ledger import Bookkeeper, KeptWish
from synfire.deploy.local import LocalDeployment
from synfire.deploy.models import Models
from synfire.deploy.remote import RemoteGateways
from synfire.deploy.roles.planner import Asked, planned_elsewhere
from synfire.deploy.scaling import Scaler
from synfire.deploy.stage_replicas import whole_has_replicas
from synfire.deploy.stage_sleep import StageSleeper
from synfire.deploy.wishes import Proposal, Wishes
from synfire.plan.replicas import Range, ranged
from synfire.store.names import parted
from synfire.wire.messages import CHANGED, Wanting
from synfire.wire.wish import Wish, Wished

PLANNERS = 2
"""How many models are planned at a time: each takes a process, and a core for some seconds."""


class Wishing:
    """What wishes have done in a deployment, see `synfire.deploy.wishes.Hands`; they are noted in the `books`. `folder` is where planners
    find the deployment's store, `changed` hears whenever something is to be told. Made in an event loop; `run` is its life."""

    def __init__(
        self,
        folder: Path,
        models: Models,
        deployment: LocalDeployment,
        gateways: RemoteGateways,
        books: Bookkeeper,
        changed: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._models = models
        self._deployment = deployment
        self._gateways = gateways
        self._books = books
        self._planners = asyncio.Semaphore(PLANNERS)
        self._wishes = Wishes(self._propose, models.serve, models.withdraw, self, models.wanted, changed)
        healing = deployment.healing
        sleeper = StageSleeper(lambda: healing.controller.state.models.values(), healing.rested)
        self._scaler = Scaler(self._wishes, stages=sleeper.look)
        gateways.on_pressure(self._scaler.hear)

    def begin(self, kept: Mapping[str, KeptWish]) -> None:
        """Go on with the wishes that a controller before this one had."""
        self._wishes.begin(kept)

    async def run(self) -> None:
        """Scale models by their calls, and have stages sleep without any, until cancelled."""
        await self._scaler.run()

    async def close(self) -> None:
        """Carry nothing out any more."""
        await self._wishes.close()

    @property
    def kept(self) -> dict[str, KeptWish]:
        """What a controller after this one needs to go on."""
        return self._wishes.kept

    @property
    def told(self) -> tuple[Wished, ...]:
        """Every wish, and what has become of it."""
        return self._wishes.told

    def bring(self, model: str, wish: Wish | None) -> None:
        """Have a model served for a chain, or no longer; whoever wants the chain writes it down."""
        if wish is None:
            self._wishes.drop(model)
        else:
            self._wishes.want(model, wish)

    async def want(self, order: Wanting) -> str:
        """Note what somebody wants; it is written down before it is carried out any further. Raises `UserError` for the name of a model
        that nobody has asked for so, `UnknownName` for one that is not wanted."""
        name, wish = order.model, order.wish
        if wish is None:
            self._wishes.drop(name)
        else:
            named = {parted(each.name, each.version)[0] for each in self._models.wanted.values()}
            wished = {each.name for each in self._wishes.told}
            if name in named - wished:
                raise UserError(
                    f"model {name!r} is served because it was named when the deployment was started; ask for another name"
                )
            if not self._wishes.want(name, wish):
                return ""
        await self._books.write()
        return CHANGED

    def rank(self, model: str, priority: int) -> None:
        """Give a model another priority."""
        self._models.wanted[model] = msgspec.structs.replace(self._models.wanted[model], priority=priority)
        self._deployment.priorities[model] = priority
        self._deployment.healing.ranked(model, priority)

    def replicate(self, model: str, ranges: Mapping[str, Range]) -> None:
        """Have these stages of a model in so many replicas, and the others in one. Raises `UserError` for a model that runs whole."""
        wanted = self._models.wanted[model]
        if ranges and self._models.graphs[model].whole:
            raise whole_has_replicas(model)
        self._models.wanted[model] = msgspec.structs.replace(wanted, plan=ranged(wanted.plan, ranges))
        self._deployment.replicate(model, ranges)
        self._books.note()

    def sleep(self, model: str, asleep: bool) -> None:
        """Have a model leave its workers, or come back."""
        if self.asleep(model) != asleep:
            self._deployment.healing.slept(model, asleep)

    def asleep(self, model: str) -> bool:
        """Whether a model is on no worker, because nobody calls it."""
        view = self._deployment.healing.controller.state.models.get(model)
        return view is not None and view.asleep

    async def retire(self, model: str) -> None:
        """Have a replica get no new calls, and wait until it has none."""
        await self._gateways.retire(model)

    async def _propose(self, name: str, wish: Wish) -> Proposal:
        asked = Asked(name, wish, str(self._folder), self._deployment.settings.begins)
        async with self._planners:
            return Proposal(wish, await planned_elsewhere(asked))
