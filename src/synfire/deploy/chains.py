"""Chains that somebody wants by HTTP: checked against the models that there are, told to every gateway, and kept.

Level-triggered: whenever a model has come, or is about to go, the chains that call it are looked at again, and gateways are told what is
otherwise. A chain may be asked for before its models are; it waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.chains import Chain, Joined, join, read_joined
from synfire.chains.operators import graph_of
from synfire.chains.reading import chain_of
from synfire.deploy.ledger import KeptChain, Wanted
from synfire.gateway.directory import newest
from synfire.graph import Graph
from synfire.store.names import LATEST, of_replica, parted
from synfire.wire.chain import ChainBrief, ChainState
from synfire.wire.messages import CHANGED, Chaining
from synfire.wire.traffic import Rule
from synfire.wire.wish import Wish


class Hands(Protocol):
    """What else is known of the deployment, and done for chains."""

    async def graph(self, called: str, without: str = "") -> Graph | None:
        """The graph of a model, as a step calls it; None where there is none, as if the one named `without` were not there."""
        ...

    def source(self, model: str) -> str | None:
        """What a model of that name is made of, as it was asked for; None where nobody has asked for one."""
        ...

    def is_wished(self, model: str) -> bool:
        """Whether a model of that name was asked for by HTTP."""
        ...

    def check_free(self, chain: str) -> None:
        """Raise `UserError` where something else is called so."""
        ...

    def bring(self, model: str, wish: Wish | None) -> None:
        """Have a model served by HTTP, or no longer."""
        ...

    async def tell(self, state: ChainState) -> None:
        """Have every gateway know how a chain stands."""
        ...

    async def write(self) -> None:
        """Write down how it is now, and tell whoever follows."""
        ...

    def note(self) -> None:
        """The same, when there is time."""
        ...


@dataclass(frozen=True)
class _Case:
    """A chain that is wanted, how it stands, what it is to those that call it, and the models that it has brought."""

    chain: Chain
    state: ChainState
    graph: Graph | None = None
    brings: tuple[str, ...] = ()


class Chains:
    """Made and used in one event loop. `fixed` are chains that are served as long as the deployment."""

    def __init__(self, hands: Hands, fixed: Mapping[str, Joined]) -> None:
        self._hands = hands
        self._fixed = fixed
        self._cases: dict[str, _Case] = {}
        self._turn = asyncio.Lock()

    async def begin(self, kept: Mapping[str, KeptChain]) -> None:
        """Go on with what a controller before this one had, and has told; `look` finds out what is otherwise now."""
        for name, each in kept.items():
            graph = graph_of(read_joined(each.state.joined)) if each.state.joined else None
            self._cases[name] = _Case(_chain(each.state), each.state, graph, each.brings)
            await self._hands.tell(each.state)

    @property
    def kept(self) -> dict[str, KeptChain]:
        """What a controller after this one needs to go on."""
        return {name: KeptChain(each.state, each.brings) for name, each in self._cases.items()}

    @property
    def told(self) -> tuple[ChainBrief, ...]:
        """Every chain, in short."""
        return tuple(_brief(each) for _, each in sorted(self._cases.items()))

    def __contains__(self, name: str) -> bool:
        return name in self._cases or name in self._fixed

    async def obey(self, order: Chaining) -> str:
        """Have a chain served, or no longer; whether that is anything new. It is written down before that is said.

        Raises `UserError` where the chain does not fit the models that there are, calls itself, or brings a model that is there as
        something else; then nothing is otherwise than before. Raises `UnknownName` for one that nobody wanted.
        """
        async with self._turn:
            changed = await (self._want(order) if order.content else self._drop(order.chain))
        if changed:
            await self._hands.write()
        return CHANGED if changed else ""

    async def look(self, model: str = "", without: str = "") -> None:
        """A model has come, goes, or is another one now; any may have, where none is named. The one named `without` is about to go."""
        if not self._cases:
            return
        async with self._turn:
            changed = await self._look_again(self._behind([model] if model else []), without)
        if changed:
            self._hands.note()

    def disown(self, model: str) -> None:
        """Somebody has asked for a model by itself: no chain ends it any more."""
        for name, case in self._cases.items():
            self._cases[name] = replace(case, brings=tuple(each for each in case.brings if each != model))

    async def _want(self, order: Chaining) -> bool:
        name, chain = order.chain, chain_of(msgspec.json.decode(order.content), order.chain)
        known = self._cases.get(name)
        same = known is not None and msgspec.json.decode(known.state.content) == msgspec.json.decode(order.content)
        if same and all(self._hands.source(each) is not None for each in chain.models):
            return False
        if name in self._fixed:
            raise UserError(
                f"chain {name!r} is served because it was named when the deployment was started; ask for another name"
            )
        self._hands.check_free(name)
        self._check_circle(chain)
        brings = tuple(self._brought(chain))
        former = known.brings if known is not None else ()
        case = await self._joined(chain, order.content)
        self._cases[name] = replace(case, brings=brings)
        for each in brings:
            if self._hands.source(each) != chain.models[each]:
                self._hands.bring(each, Wish(chain.models[each]))
        self._give_up(former)
        await self._hands.tell(case.state)
        await self._look_again([each for each in self._behind([name]) if each != name])
        return True

    async def _drop(self, name: str) -> bool:
        if name not in self._cases:
            raise UnknownName.among("chain that is wanted", name, self._cases)
        behind = [each for each in self._behind([name]) if each != name]
        case = self._cases.pop(name)
        await self._look_again(behind)
        await self._hands.tell(ChainState(name))
        self._give_up(case.brings)
        return True

    def _brought(self, chain: Chain) -> Iterator[str]:
        """The models that are served because this chain brings them, alone or with others. Raises `UserError` for one that is there as
        something else."""
        before = self._cases.get(chain.name)
        for name, reference in chain.models.items():
            source = self._hands.source(name)
            shared = any(name in each.brings for each in self._cases.values() if each is not before)
            own = before is not None and name in before.brings and not shared
            if source not in (None, reference) and self._hands.is_wished(name) and not own:
                raise UserError(
                    f"model {name!r} is {source} already, and the chain brings {reference} by that name; name one of them otherwise"
                )
            if source is None or shared or own:
                yield name

    def _give_up(self, brought: Iterable[str]) -> None:
        """Serve models no longer that no chain brings any more."""
        for model in brought:
            if self._hands.is_wished(model) and not any(model in each.brings for each in self._cases.values()):
                self._hands.bring(model, None)

    def _check_circle(self, chain: Chain) -> None:
        """Raise `UserError` where the chain would call itself, by way of others or not."""
        waiting: list[tuple[Chain, tuple[str, ...]]] = [(chain, (chain.name,))]
        seen = {chain.name}
        while waiting:
            caller, way = waiting.pop()
            for called in map(spoken, caller.called):
                if called == chain.name:
                    told = ", ".join(sorted(way))
                    raise UserError(
                        f"the chains {told} call each other; a chain cannot wait for itself"
                        if len(way) > 1
                        else f"chain {chain.name!r} calls itself; a chain cannot wait for itself"
                    )
                if called in self._cases and called not in seen:
                    seen.add(called)
                    waiting.append((self._cases[called].chain, (*way, called)))

    def _behind(self, models: Iterable[str]) -> list[str]:
        """The chains that call these models, or call such chains, each after those that it calls; all chains where none is named."""
        reached = {of_replica(each).partition("@")[0] for each in models}
        every, found = not reached, list[str]()
        left = dict(self._cases)
        while ready := [name for name, case in left.items() if not {*map(spoken, case.chain.called)} & set(left)]:
            for name in ready:
                if every or name in reached or reached & {*map(spoken, left[name].chain.called)}:
                    found.append(name)
                    reached.add(name)
                del left[name]
        return found

    async def _look_again(self, names: Iterable[str], without: str = "") -> bool:
        """Tell gateways of those that stand otherwise; whether any does."""
        changed = False
        for name in names:
            before = self._cases[name]
            case = await self._standing(before, without)
            self._cases[name] = replace(case, brings=before.brings)
            if case.state != before.state:
                changed = True
                await self._hands.tell(case.state)
        return changed

    async def _standing(self, case: _Case, without: str) -> _Case:
        """How a chain stands that is wanted already: it may not fit any more."""
        try:
            return await self._joined(case.chain, case.state.content, without)
        except UserError as error:
            failure = str(error)
        except Exception as error:
            LOGGER.error("chain %s cannot be looked at", case.chain.name, exc_info=error)
            failure = f"{type(error).__name__}: {error}; please report it"
        LOGGER.warning("chain %s cannot be served: %s", case.chain.name, failure)
        return _Case(case.chain, ChainState(case.chain.name, case.state.content, failure=failure))

    async def _joined(self, chain: Chain, content: bytes, without: str = "") -> _Case:
        """The chain with the models that there are. Raises as `join` does, but for models that are not there yet."""
        found = {called: await self._graph(called, without) for called in chain.called}
        graphs = {called: graph for called, graph in found.items() if graph is not None}
        missing = tuple(called for called in found if called not in graphs)
        if missing:
            return _Case(chain, ChainState(chain.name, content, missing=missing))
        joined = join(chain, graphs)
        return _Case(chain, ChainState(chain.name, content, joined.document()), graph_of(joined))

    async def _graph(self, called: str, without: str) -> Graph | None:
        name = spoken(called)
        if name in self._fixed:
            return graph_of(self._fixed[name])
        if name in self._cases:
            return self._cases[name].graph
        return await self._hands.graph(called, without)


def spoken(called: str) -> str:
    """The name alone, of what a step calls."""
    return called.partition("@")[0].removesuffix(f":{LATEST}")


def called_graph(
    called: str, rules: Mapping[str, Rule], wanted: Iterable[Wanted], graphs: Mapping[str, Graph]
) -> Graph | None:
    """The graph of what a step calls: by a rule, that of the side with the greatest share; of several versions that which is named, or the
    highest. None where there is none. `graphs` are those of the models that are `wanted`, by their names."""
    name = called.removesuffix(f":{LATEST}")
    name, _, version = (rules[name].heaviest if name in rules else name).partition("@")
    found = {}
    for each in wanted:
        own, number = parted(each.name, each.version)
        if own == name and each.name in graphs:
            found[number] = graphs[each.name]
    return found.get(version or newest(found)) if found else None


def read_fixed(documents: Sequence[bytes]) -> dict[str, Joined]:
    """Chains that were named when the deployment was started."""
    return {each.chain.name: each for each in map(read_joined, documents)}


def _chain(state: ChainState) -> Chain:
    return chain_of(msgspec.json.decode(state.content), state.name)


def _brief(case: _Case) -> ChainBrief:
    state, chain = case.state, case.chain
    reason = state.failure or f"it waits for {', '.join(state.missing)}" * bool(state.missing)
    return ChainBrief(state.name, tuple(each.name for each in chain.steps), chain.called, reason)
