"""Several replicas of one model as one route: each call goes to the one with the least work to do, and to another when that is lost."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from synfire.base.errors import Bug, Interrupted, SynfireError
from synfire.gateway.call import Call, Part
from synfire.gateway.inputs import work_of
from synfire.gateway.open_ended import Told
from synfire.gateway.route import WorkerRoute
from synfire.graph import Graph, flatten
from synfire.plan import Plan

PAUSE_S, SLOWER, LONGEST_PAUSE_S = 0.005, 1.5, 0.1
"""How long a call waits that no replica can answer now, by how much longer each time, and how long at most."""


class Replicas:
    """The routes of a model's replicas. Made and used in one event loop.

    A call that loses its replica goes to another one at once, and does not wait until the lost one is replaced: what the caller has
    already is not given again. A session stays at the replica where it began, and is protected there; when that one goes, it moves to
    another with its state.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.moved = 0
        """Calls that went on at another replica."""

        self._flat = flatten(graph)
        self._routes: dict[str, WorkerRoute] = {}
        self._calls: Counter[str] = Counter()
        self._load: defaultdict[str, float] = defaultdict(float)
        self._homes: dict[str, str] = {}
        self._closing: set[str] = set()

    def add(self, name: str, route: WorkerRoute) -> None:
        """Send calls to another replica, too."""
        self._routes[name] = route

    def remove(self, name: str) -> None:
        """Send calls to this one no longer. Its sessions go on at others."""
        left = self._routes.pop(name)
        self._closing.discard(name)
        for session in [each for each, home in self._homes.items() if home == name]:
            self._homes.pop(session)
            if self._routes:
                self._move(session, left)

    def shut(self, name: str) -> bool:
        """Send new calls to others as long as there are any; whether this one has none."""
        self._closing.add(name)
        return not self._calls[name]

    def __len__(self) -> int:
        return len(self._routes)

    @property
    def plan(self) -> Plan:
        """The plan of the replica that is called next."""
        return self._routes[self._next()].plan

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(each.plan for each in self._routes.values())

    @property
    def ready(self) -> bool:
        """Whether one of them takes calls."""
        return any(each.ready for each in self._routes.values())

    @property
    def failure(self) -> SynfireError | None:
        """Why calls are answered by an error, where no replica answers them."""
        failures = [each.failure for each in self._routes.values()]
        return failures[0] if failures and None not in failures else None

    @property
    def replays(self) -> int:
        """Calls that were interrupted and sent again, to the same replica or to another."""
        return self.moved + sum(each.replays for each in self._routes.values())

    @property
    def restored(self) -> int:
        """Sessions that were brought back."""
        return sum(each.restored for each in self._routes.values())

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Yield the call's parts in order; see `synfire.gateway.call.Route`."""
        told = Told(self._flat, call) if self._flat.open_ended else None
        given, pause_s, engines = 0, PAUSE_S, None
        while True:
            name = self._home(call) if call.session else self._next()
            route = self._routes[name]
            if not call.session and not route.standing:
                pause_s = await self._wait(pause_s)
                continue
            if given:
                _check_alike(call, engines, route.engines)
            engines = route.engines
            work = self._work(call)
            self._calls[name] += 1
            self._load[name] += work
            try:
                async with aclosing(route.answer(call) if call.session else route.once(call, given, told)) as parts:
                    async for part in parts:
                        given += 1
                        if told is not None:
                            told.add(part)
                        yield part
                return
            except Interrupted:
                if call.session:
                    raise
            finally:
                self._calls[name] -= 1
                self._load[name] = self._load[name] - work if self._calls[name] else 0.0
                if call.end:
                    self._homes.pop(call.session, None)
            self.moved += 1

    async def _wait(self, pause_s: float) -> float:
        """Wait a little for a replica that would answer; how long to wait the next time. Raises where all refuse."""
        failure = self.failure
        if failure is not None:
            raise failure
        await asyncio.sleep(pause_s)
        return min(pause_s * SLOWER, LONGEST_PAUSE_S)

    def _next(self) -> str:
        """The replica that has the least to do for this gateway, of those that would answer now, if there are any."""
        if not self._routes:
            raise Bug("a model without replicas was called; it should not be served")
        return min(
            self._routes,
            key=lambda name: (self._rank(self._routes[name]), name in self._closing, self._load[name]),
        )

    def _work(self, call: Call) -> float:
        """How much work a call is beside others."""
        return work_of(self._flat, call.inputs)

    @staticmethod
    def _rank(route: WorkerRoute) -> int:
        """Whether calls would be answered now, held until somebody is replaced, or refused."""
        return 0 if route.standing else 1 if route.failure is None else 2

    def _home(self, call: Call) -> str:
        """The replica of a call's session: where it began. One that begins goes to who has the fewest of them."""
        if call.start or call.session not in self._homes:
            self._homes = {each: home for each, home in self._homes.items() if self._keeps(each, home)}
            counts = Counter(self._homes.values())
            others = [each for each in self._routes if each not in self._closing] or list(self._routes)
            self._homes[call.session] = min(
                others, key=lambda name: (self._rank(self._routes[name]), counts[name], self._calls[name])
            )
        elif self._homes[call.session] in self._closing and len(self._closing) < len(self._routes):
            self._move(call.session, self._routes[self._homes[call.session]])
        return self._homes[call.session]

    def _keeps(self, session: str, home: str) -> bool:
        """Whether a session may still be open there; a route that nobody protects does not know."""
        route = self._routes[home]
        return not route.protected or session in route.sessions

    def _move(self, session: str, left: WorkerRoute) -> None:
        """Have a session go on elsewhere: before its next call its state is restored there, and its calls since are computed again."""
        others = {name: each for name, each in self._routes.items() if each is not left and name not in self._closing}
        found = others or self._routes
        name = min(found, key=lambda name: (self._rank(found[name]), self._calls[name]))
        track = left.sessions.give(session)
        if track is not None:
            unlike = [each for each, engine in left.engines.items() if found[name].engines.get(each) != engine]
            found[name].sessions.take(track, unlike[0] if unlike else "")
        self._homes[session] = name


def _check_alike(call: Call, before: Mapping[str, str] | None, now: Mapping[str, str]) -> None:
    """Raise `Interrupted` where an answer was begun on another engine than it would go on with."""
    if before != now:
        raise Interrupted(
            f"call {call.id} was answered in part by a replica of model {call.model!r} that is lost, and the others run on another "
            "device, which computes otherwise; ask again"
        )
