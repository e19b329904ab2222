"""The models that a deployment serves, by name: loaded, unloaded, and served again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.deploy.ledger import Bookkeeper, Wanted
from synfire.deploy.local import LocalDeployment
from synfire.deploy.on_demand import OnDemand
from synfire.deploy.variants import base_of, placed
from synfire.graph import Graph
from synfire.plan import Plan
from synfire.plan.variants import differing
from synfire.store.names import of_replica, parted
from synfire.wire.messages import Load


class Models:
    """What is `wanted` of the models that are served, and what was of those that were `unloaded`. Made and used in one event loop.

    `graph` gives the graph of a digest. What is done stands in the `books` before anybody is told. `on_demand` loads models of the store,
    where the deployment serves them.
    """

    def __init__(
        self,
        wanted: dict[str, Wanted],
        unloaded: Iterable[Wanted],
        deployment: LocalDeployment,
        graph: Callable[[str], Graph],
        books: Bookkeeper,
    ) -> None:
        self.wanted = wanted
        self.unloaded = {each.name: each for each in unloaded}
        self.on_demand: OnDemand | None = None
        self._deployment = deployment
        self._graph = graph
        self._books = books
        self._changed: Callable[[str, str], Awaitable[None]] = _nobody_hears

    def on_change(self, act: Callable[[str, str], Awaitable[None]]) -> None:
        """Await `act` with the name of a model that has come; and with the name twice before one goes that no call brings back."""
        self._changed = act

    @property
    def graphs(self) -> dict[str, Graph]:
        """The graph of each model that is served."""
        return {name: graph for name, (graph, _) in self._deployment.models.items()}

    @property
    def versions(self) -> dict[str, str]:
        """The version of each model that is served; replicas are one."""
        return {of_replica(name): each.version for name, each in self.wanted.items()}

    def of_name(self, name: str) -> list[Wanted]:
        """The served model of that name with its replicas, or all of its versions. Raises `UnknownName` where there is none."""
        found = _of_name(name, self._deployment.models)
        if not found:
            raise UnknownName.among("served model", name, self._deployment.models)
        return [self.wanted[each] for each in found]

    def graph_of(self, model: str) -> Graph:
        """The graph of a model that is served, or that a call would load. Raises `UnknownName`."""
        served = {of_replica(name): graph for name, (graph, _) in self._deployment.models.items()}
        if model in served:
            return served[model]
        if self.on_demand is None:
            raise UnknownName.among("served model", model, served)
        return self.stored(model, self.on_demand)

    def stored(self, model: str, on_demand: OnDemand) -> Graph:
        """The graph of a model of the store. Raises `UnknownName` where there is none."""
        return self._graph(on_demand.find(model).wanted.digest)

    async def load(self, order: Load) -> str:
        """Serve one more model. Raises `UserError` where it is served already."""
        name, version = parted(order.model, order.version)
        if order.model in self.wanted or (name, version) in {
            parted(each.name, each.version) for each in self.wanted.values()
        }:
            raise UserError(
                f"model {name!r}, version {version}, is served already; unload it first, or give the new one another name"
            )
        wanted = Wanted(
            name=order.model,
            version=order.version,
            source=order.source,
            digest=order.digest,
            plan=order.plan,
            services=order.services,
        )
        return await self.serve(wanted)

    async def unload(self, name: str) -> str:
        """Serve a model no longer, all its versions where none is named. Raises as `of_name` does."""
        for model in [each.name for each in self.of_name(name)]:
            wanted = self.wanted[model]
            await self.withdraw(model)
            if not wanted.on_demand:
                self.unloaded[model] = wanted
            elif self.on_demand is not None:
                self.on_demand.forget(model)
        await self._books.write()
        return f"{name} is served no longer"

    async def reload(self, name: str) -> str:
        """Serve a model again that was unloaded, or one of the store. Raises `UnknownName` for any other."""
        unloaded = _of_name(name, self.unloaded)
        for model in unloaded:
            await self.serve(self.unloaded[model])
        if unloaded or _of_name(name, self.wanted):
            return f"{name} is served"
        if self.on_demand is None:
            raise UnknownName.among("unloaded model", name, self.unloaded)
        await self.on_demand.load(name)
        return f"{name} is served"

    async def serve(self, wanted: Wanted) -> str:
        """Serve a model so. Raises what stands against it; then nothing of it is served."""
        name = wanted.name
        self.wanted[name], self._deployment.services[name] = wanted, wanted.services
        self._deployment.priorities[name] = wanted.priority
        try:
            graph = await asyncio.to_thread(self._graph, wanted.digest)
            if wanted.variant_of:
                wanted = self.wanted[name] = msgspec.structs.replace(wanted, plan=await self._beside(wanted, graph))
            await self._deployment.add(name, graph, wanted.plan, wanted.on_demand)
        except BaseException:
            del self.wanted[name]
            raise
        self.unloaded.pop(name, None)
        await self._books.write()
        await self._changed(name, "")
        return f"{name} is served"

    async def _beside(self, wanted: Wanted, graph: Graph) -> Plan:
        """The plan of a variant, along the model that it is one of. Raises `TemporaryError` while that is on no workers, or nobody has room for
        what differs, `UserError` where it is no variant."""
        name, first = of_replica(wanted.name), wanted.variant_of
        healing = self._deployment.healing
        known, _ = self._deployment.models[base_of(healing.controller.state, first, name).name]
        if known.whole:
            raise UserError(
                f"{name} cannot be a variant of {first}, which runs whole, and has no stages to share; leave variant_of out"
            )
        changed = await asyncio.to_thread(differing, first, known, name, graph)
        state = healing.controller.state
        return placed(state, base_of(state, first, name), wanted.name, changed)

    async def withdraw(self, name: str) -> None:
        """Serve one model no longer; its calls in flight fail."""
        if not self.wanted[name].on_demand:
            await self._changed(name, name)
        views = self._deployment.healing.controller.state.models
        workers = views[name].plan.workers if name in views else ()
        await self._deployment.remove(name)
        if self.wanted.pop(name).on_demand:
            for worker in workers:
                self._deployment.healing.dismiss(worker)
        self._books.note()


async def _nobody_hears(model: str, without: str) -> None:
    """Nobody follows what models there are."""


def _of_name(name: str, models: Iterable[str]) -> list[str]:
    """The model of that name with its replicas, or all of its versions."""
    found = list(models)
    replicas = [each for each in found if name in (each, of_replica(each))]
    return replicas or [each for each in found if of_replica(each).partition("@")[0] == name]
