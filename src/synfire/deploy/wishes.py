"""Models that somebody wants by HTTP: each is planned in a process of its own, and served in as many replicas as are wanted.

Level-triggered: whatever a wish still lacks, or has too much, is done next, until nothing is; what may pass is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from synfire.base.errors import Bug, SynfireError, TemporaryError, UnknownName
from synfire.base.log import LOGGER
from synfire.deploy.ledger import KeptWish, Wanted
from synfire.plan.replicas import Range, check_ranges, ranged, ranges
from synfire.store.names import of_replica, replica
from synfire.wire.wish import Scale, Wish, Wished

AGAIN_S = 5.0
"""After how many seconds is tried again what may pass."""


class Proposal(msgspec.Struct, frozen=True):
    """A model as it would be served, under whatever name; and the wish that it was planned for."""

    wish: Wish
    wanted: Wanted


class Hands(Protocol):
    """What else is done for a replica."""

    def rank(self, model: str, priority: int) -> None:
        """Give it another priority."""
        ...

    def replicate(self, model: str, ranges: Mapping[str, Range]) -> None:
        """Have these stages of it in so many replicas, and the others in one. Raises `UserError` where that cannot be."""
        ...

    def sleep(self, model: str, asleep: bool) -> None:
        """Have it leave its workers, or come back; nothing where that is so already."""
        ...

    def asleep(self, model: str) -> bool:
        """Whether it sleeps."""
        ...

    async def retire(self, model: str) -> None:
        """Give it no new calls; return when it has none left."""
        ...


@dataclass
class _Case:
    """A wish under way; without a `wish` it is wanted no longer. With a scale `count` says how many replicas there are to be now."""

    wish: Wish | None
    proposal: Proposal | None = None
    failure: SynfireError | None = None
    leaving: Wish | None = None
    count: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Wishes:
    """Made and used in one event loop. `propose` plans, `serve` and `withdraw` are done for one replica, `hands` do the rest; `served` are the models of the deployment by name. `changed` hears whenever something is to be told.

    What was served for a wish before a restart is found in `served` again, with the wishes that `begin` is given.
    """

    def __init__(
        self,
        propose: Callable[[str, Wish], Awaitable[Proposal]],
        serve: Callable[[Wanted], Awaitable[str]],
        withdraw: Callable[[str], Awaitable[None]],
        hands: Hands,
        served: Mapping[str, Wanted],
        changed: Callable[[], None],
    ) -> None:
        self._propose = propose
        self._serve = serve
        self._withdraw = withdraw
        self._hands = hands
        self._served = served
        self._changed = changed
        self._cases: dict[str, _Case] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, kept: Mapping[str, KeptWish]) -> None:
        """Go on with the wishes that a controller before this one had."""
        for name, each in kept.items():
            self._cases[name] = _Case(each.wish, Proposal(each.wish, each.wanted) if each.wanted is not None else None)
            self._go_on(name)

    @property
    def kept(self) -> dict[str, KeptWish]:
        """What a controller after this one needs to go on."""
        return {
            name: KeptWish(case.wish, proposal.wanted if proposal and proposal.wish.alike(case.wish) else None)
            for name, case in self._cases.items()
            if case.wish is not None
            for proposal in (case.proposal,)
        }

    @property
    def told(self) -> tuple[Wished, ...]:
        """Every wish, and what has become of it."""
        return tuple(self._told(name, case) for name, case in sorted(self._cases.items()))

    def want(self, name: str, wish: Wish) -> bool:
        """Have a model served so from now on; whether that is anything new."""
        case = self._cases.get(name)
        if case is not None and case.wish == wish:
            return False
        if case is None:
            case = self._cases[name] = _Case(wish)
        case.wish, case.failure = wish, None
        self._go_on(name)
        return True

    @property
    def scaled(self) -> dict[str, Scale]:
        """The models that are served and scale by themselves."""
        cases = (
            (name, case) for name, case in self._cases.items() if case.wish is not None and case.wish.scale is not None
        )
        return {name: case.wish.scale for name, case in cases if self._replicas(name)}  # type: ignore[union-attr,misc]

    def awake(self, name: str) -> int:
        """How many replicas a model has that do not sleep."""
        return sum(not self._hands.asleep(each) for each in self._replicas(name))

    def scale(self, name: str, count: int) -> None:
        """Have a model that scales by itself so many replicas from now on; none means that it sleeps."""
        case = self._cases[name]
        if case.count != count:
            case.count = count
            self._go_on(name)

    def drop(self, name: str) -> None:
        """Have a model served no longer. Raises `UnknownName` for one that nobody wanted."""
        case = self._cases.get(name)
        if case is None or case.wish is None:
            raise UnknownName.among("model that is wanted", name, [n for n, each in self._cases.items() if each.wish])
        case.wish, case.leaving = None, case.wish
        self._go_on(name)

    async def close(self) -> None:
        """Carry nothing out any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _told(self, name: str, case: _Case) -> Wished:
        models = tuple(sorted(self._replicas(name)))
        if case.wish is None:
            assert case.leaving is not None
            return Wished(name, case.leaving, "leaving", models=models)
        if case.failure is not None:
            return Wished(name, case.wish, "failed", str(case.failure), models)
        planned = case.proposal is not None and case.proposal.wish.alike(case.wish)
        return Wished(name, case.wish, "accepted" if planned else "loading", models=models)

    def _go_on(self, name: str) -> None:
        self._cases[name].changed.set()
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(self._carry_out(name), name=f"wish {name}")
        self._changed()

    async def _carry_out(self, name: str) -> None:
        """Do what is to be done for a wish, until it is as it is wanted."""
        case = self._cases[name]
        try:
            while case.changed.is_set():
                case.changed.clear()
                await self._step(name, case)
                self._changed()
        finally:
            del self._tasks[name]
            if case.wish is None and not case.changed.is_set():
                del self._cases[name]
            self._changed()

    async def _step(self, name: str, case: _Case) -> None:
        try:
            await self._towards(name, case)
            case.failure = None
        except SynfireError as error:
            case.failure = error
        except Exception as error:
            LOGGER.error("the wish for model %s failed", name, exc_info=error)
            case.failure = Bug(f"model {name!r}: {type(error).__name__}: {error}; please report it")
        if case.failure is not None:
            LOGGER.warning("model %s is not served as it is wanted: %s", name, case.failure)
        if isinstance(case.failure, TemporaryError) and not case.changed.is_set():
            self._changed()
            try:
                async with asyncio.timeout(AGAIN_S):
                    await case.changed.wait()
            except TimeoutError:
                case.changed.set()

    async def _towards(self, name: str, case: _Case) -> None:
        """Whatever the wish lacks, or has too much. A wish that changes meanwhile is begun anew."""
        wish = case.wish
        if wish is None:
            for each in self._replicas(name):
                await self._withdraw(each)
            return
        if case.proposal is None or not case.proposal.wish.alike(wish):
            proposal = await self._propose(name, wish)
            for each in self._replicas(name):
                await self._withdraw(each)
            case.proposal = proposal
            self._changed()
        if case.changed.is_set():
            return
        check_ranges(case.proposal.wanted.plan, wish.ranges)
        count = self._count(name, case, wish)
        names = [replica(name, number) for number in range(1, max(count, wish.scale is not None) + 1)]
        for each in self._replicas(name):
            if each not in names:
                await self._hands.retire(each)
                await self._withdraw(each)
            elif self._served[each].priority != wish.priority:
                self._hands.rank(each, wish.priority)
        for each in names:
            if each in self._served and ranges(self._served[each].plan) != wish.ranges:
                self._hands.replicate(each, wish.ranges)
            elif each not in self._served:
                plan = msgspec.structs.replace(ranged(case.proposal.wanted.plan, wish.ranges), model=each)
                await self._serve(
                    msgspec.structs.replace(case.proposal.wanted, name=each, plan=plan, priority=wish.priority)
                )

        if wish.scale is not None:
            self._hands.sleep(names[0], count == 0)

    def _count(self, name: str, case: _Case, wish: Wish) -> int:
        """How many replicas there are to be: at first, and after a restart, as many as there are."""
        if wish.scale is None:
            return wish.replicas
        if case.count is None:
            case.count = self.awake(name) or max(wish.scale.least, 1)
        return min(max(case.count, wish.scale.least), wish.scale.most)

    def _replicas(self, name: str) -> list[str]:
        return [each for each in self._served if of_replica(each) == name]
