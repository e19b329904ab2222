"""The rules by which names answer that are more than a model's: changed, told to every gateway, and written down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from synfire.base.errors import UnknownName, UserError
from synfire.deploy.ledger import Bookkeeper, Wanted
from synfire.deploy.models import Models
from synfire.deploy.remote import RemoteGateways
from synfire.deploy.traffic import as_served, check_rule
from synfire.store.names import of_replica
from synfire.wire.messages import Tally
from synfire.wire.traffic import Rule, TrafficCount, summed


class Rules:
    """Made and used in one event loop. Gateways that come are told them from the beginning."""

    def __init__(self, rules: Iterable[Rule], models: Models, gateways: RemoteGateways, books: Bookkeeper) -> None:
        self._by_name = {each.name: each for each in rules}
        self._models = models
        self._gateways = gateways
        self._books = books
        self._changed: Callable[[str], Awaitable[None]] | None = None
        self._counts: dict[str, tuple[TrafficCount, ...]] = {}
        self._followed = self.all
        gateways.begin_traffic(self.all)

    def on_change(self, act: Callable[[str], Awaitable[None]]) -> None:
        """Await `act` with a name that answers by another rule than before."""
        self._changed = act

    @property
    def all(self) -> tuple[Rule, ...]:
        """The rules that hold now."""
        return tuple(self._by_name.values())

    def hear(self, gateway: str, tally: Tally) -> None:
        """A gateway has told what it counted. What one has counted that is gone stays."""
        self._counts[gateway] = tally.counts

    @property
    def counted(self) -> tuple[TrafficCount, ...]:
        """What all gateways have counted of each name, those that were there since this controller is; by the rules that they follow already."""
        sides = summed(each for counts in self._counts.values() for each in counts)
        return tuple(TrafficCount(rule, sides.get(rule.name, [])) for rule in self._followed)

    async def steer(self, rule: Rule) -> str:
        """Have a name answer by this rule, at every gateway; by none where it has no sides. Raises what stands against it."""
        if not rule.sides:
            if self._by_name.pop(rule.name, None) is None:
                raise UnknownName.among("name that answers by a rule", rule.name, self._by_name)
            told = f"{rule.name} answers by no rule any more"
        else:
            rule = as_served(rule, self._models.versions)
            await asyncio.to_thread(check_rule, rule, self._models.graph_of)
            self._by_name[rule.name] = rule
            told = f"{rule.name} is answered by {rule.words}{rule.place}"
        await self._books.write()
        steered = self.all
        await self._gateways.steer(steered)
        self._followed = steered
        if self._changed is not None:
            await self._changed(rule.name)
        return told

    def check_unused(self, models: Iterable[Wanted]) -> None:
        """Raise `UserError` where calls of another name go to one of the models, and nobody would load it again for them."""
        for wanted in models:
            users = [rule.name for rule in self.all if of_replica(wanted.name) in rule.models]
            if users and not wanted.on_demand:
                raise UserError(
                    f"model {wanted.name} gets calls of {', '.join(users)}; send these elsewhere first: synfire traffic {users[0]} MODEL…"
                )
