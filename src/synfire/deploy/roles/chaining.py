"""Chains that are asked for by HTTP, in one deployment: over its models and rules, with those that its wishes bring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from synfire.base.errors import SynfireError, UserError
from synfire.chains import Joined
from synfire.deploy.chains import Chains, called_graph
from synfire.deploy.ledger import Bookkeeper, KeptChain
from synfire.deploy.models import Models
from synfire.deploy.remote import RemoteGateways
from synfire.deploy.roles.wishing import Wishing
from synfire.deploy.rules import Rules
from synfire.graph import Graph
from synfire.store.names import LATEST, parted
from synfire.wire.chain import ChainBrief, ChainState
from synfire.wire.messages import Chaining, Wanting
from synfire.wire.wish import Wish


class ChainHands:
    """What chains have done in a deployment, see `synfire.deploy.chains.Hands`; they are noted in the `books`. `fixed` are chains that are
    served as long as the deployment, `changed` hears whenever something is to be told. Made in an event loop."""

    def __init__(
        self,
        fixed: Mapping[str, Joined],
        models: Models,
        rules: Rules,
        wishing: Wishing,
        gateways: RemoteGateways,
        books: Bookkeeper,
        changed: Callable[[], None],
    ) -> None:
        self._models = models
        self._rules = rules
        self._wishing = wishing
        self._gateways = gateways
        self._books = books
        self._changed = changed
        self._chains = Chains(self, fixed)
        models.on_change(self._chains.look)
        rules.on_change(self._chains.look)

    async def begin(self, kept: Mapping[str, KeptChain]) -> None:
        """Go on with the chains that a controller before this one had."""
        await self._chains.begin(kept)

    async def look(self) -> None:
        """Models may have come or gone while nobody looked."""
        await self._chains.look()

    @property
    def kept(self) -> dict[str, KeptChain]:
        """What a controller after this one needs to go on."""
        return self._chains.kept

    @property
    def told(self) -> tuple[ChainBrief, ...]:
        """Every chain that was asked for, in short."""
        return self._chains.told

    async def obey(self, order: Chaining) -> str:
        """Have a chain served, or no longer. Raises what stands against it."""
        return await self._chains.obey(order)

    def heed(self, order: Wanting) -> None:
        """Somebody asks for a model by itself, or ends it: it is no chain's any more. Raises `UserError` where a chain is called so."""
        if order.wish is not None and order.model in self._chains:
            raise UserError(f"{order.model!r} is a chain of this deployment; ask for the model by another name")
        self._chains.disown(order.model)

    async def graph(self, called: str, without: str = "") -> Graph | None:
        """The graph of a model, as a step calls it; one of the store's, too, where a call would load it."""
        rules = {each.name: each for each in self._rules.all}
        wanted = [each for each in self._models.wanted.values() if each.name != without]
        found = called_graph(called, rules, wanted, self._models.graphs)
        on_demand = self._models.on_demand
        if found is None and on_demand is not None:
            with suppress(SynfireError):
                return await asyncio.to_thread(self._models.stored, called.removesuffix(f":{LATEST}"), on_demand)
        return found

    def source(self, model: str) -> str | None:
        """What a model of that name is made of, as it was asked for; None where nobody has asked for one."""
        wished = {each.name: each for each in self._wishing.told}.get(model)
        if wished is not None:
            return wished.wish.source if wished.status != "leaving" else None
        named = (each for each in self._models.wanted.values() if parted(each.name, each.version)[0] == model)
        return next((each.source for each in named), None)

    def is_wished(self, model: str) -> bool:
        """Whether a model of that name was asked for by HTTP."""
        return any(each.name == model and each.status != "leaving" for each in self._wishing.told)

    def check_free(self, chain: str) -> None:
        """Raise `UserError` where something else is called so."""
        models = {parted(each.name, each.version)[0] for each in self._models.wanted.values()}
        if chain in models | {each.name for each in self._wishing.told}:
            raise UserError(f"{chain!r} is a model of this deployment; ask for the chain by another name")
        if chain in {each.name for each in self._rules.all}:
            raise UserError(
                f"{chain!r} answers by a rule; ask for the chain by another name, or take the rule away first"
            )

    def bring(self, model: str, wish: Wish | None) -> None:
        """Have a model served by HTTP, or no longer."""
        self._wishing.bring(model, wish)

    async def tell(self, state: ChainState) -> None:
        """Have every gateway know how a chain stands."""
        await self._gateways.chain(state)

    async def write(self) -> None:
        """Write down how it is now, and tell whoever follows."""
        await self._books.write()
        self._changed()

    def note(self) -> None:
        """The same, when there is time."""
        self._books.note()
        self._changed()
