"""One schedule, lived through once: who calls, what strikes, and when it is over."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from synfire.base.errors import SynfireError, TemporaryError, UnknownName
from synfire.control import events
from synfire.control.order import OrderKind
from synfire.control.state import State
from synfire.testing.simulation import verdict
from synfire.testing.simulation.arrangement import Arrangement, Together
from synfire.testing.simulation.callers import Callers
from synfire.testing.simulation.deployment import simulated
from synfire.testing.simulation.faults import strike
from synfire.testing.simulation.loop import VirtualLoop
from synfire.testing.simulation.network import Network, SimulatedLink
from synfire.testing.simulation.schedules import Asked, Schedule, smaller
from synfire.testing.simulation.served import Served
from synfire.testing.simulation.verdict import Violation
from synfire.wire.stream import Packet

CALM_S = 120.0
"""Virtual time after which a deployment must have come to rest: far longer than any recovery."""

SETTLE_S = 0.5
"""Virtual time after which whatever happened has been noticed, a hang included."""

RETURN_S = 150.0
"""Virtual time after which models that were stopped have had every chance to come back."""

EXITS = {"controller died": 0.3, "controller began": 0.03, "gateway died": 0.3}
"""What is not an action of the controller, and how long after it a fault that waits for it strikes, at the mean."""

MAX_STEPS = 400_000
"""Steps of the event loop that no schedule needs."""


@dataclass
class Run:
    """What became of a schedule. `trace` holds (virtual seconds, who, what) of everything that happened, in order."""

    schedule: Schedule
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    violation: str = ""
    steps: int = 0
    answered: int = 0
    errors: int = 0
    recoveries: int = 0
    replays: int = 0
    restored: int = 0

    def story(self, frames: bool = False) -> str:
        """The trace in words; `frames` also tells of each packet."""
        told = [each for each in self.trace if frames or not each[2].startswith("→")]
        lines = [f"{at_s * 1e3:10.3f} ms  {who:<10} {what}" for at_s, who, what in told]
        good = f"all is well: {self.answered} answered, {self.errors} refused as they should be"
        end = f"VIOLATION: {self.violation}" if self.violation else good
        return "\n".join([str(self.schedule), "", *lines, "", end])


def run(schedule: Schedule) -> Run:
    """Live through a schedule."""
    return Simulation(schedule).run()


def shrunk(failed: Run) -> Run:
    """The smallest run that was found to fail alike, by leaving out faults and requests, one after the other."""
    for candidate in smaller(failed.schedule):
        tried = run(candidate)
        if tried.violation and _kind(tried) == _kind(failed):
            return shrunk(tried)
    return failed


def _kind(failed: Run) -> list[str]:
    """Which violation it is, whatever the names and numbers: another one would be another story."""
    return re.sub(r"\d+", "", failed.violation).split()[:3]


@contextmanager
def _uncollected() -> Iterator[None]:
    """While the block lasts, nothing looks for garbage: a run is over long before there is much."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Simulation:
    """A schedule on its way. `operating` are additions and removals of models that go on."""

    arranged: Arrangement

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.loop = VirtualLoop(schedule.seed, schedule.shuffled, MAX_STEPS)
        self.network = Network(self.loop, schedule.seed + 1, self.tell, schedule.encoded)
        self.network.passing = self._passing
        self.network.inspect = lambda worker: verdict.check_worker(worker, schedule.memory)
        self.operating: list[asyncio.Future[None]] = []
        self._run = Run(schedule)
        self._over = False
        self._facts = verdict.Facts(lambda: self.state)
        self._begun_at = -1
        self._timed = sorted((each for each in schedule.faults if not each.on), key=lambda each: each.at)
        self._traps = [each for each in schedule.faults if each.on]
        self._changing: set[str] = set()
        self.served = Served(schedule, self.network) if schedule.gateways else None
        self._acted: dict[str, int] = {}

    def run(self) -> Run:
        """Live through it."""
        lives = self.served.machine.lives if self.served else []
        doors = self.served.doors if self.served else {}
        with _uncollected(), simulated(self.loop, self.network, self, doors):
            try:
                self.loop.run_until_complete(self._live())
                verdict.check_stopped(self.loop, self.network, lives)
            except Exception as error:  # whatever it is, it should not have come up to here
                self._run.violation = f"{type(error).__name__}: {error}"
            self._run.steps, self._over = self.loop.steps, True
            if self._run.violation or any(life.relics for life in lives):
                self.loop.abandon(lives)
            self.loop.close()
        return self._run

    def tell(self, who: str, what: str) -> None:
        """Take down that something happened."""
        if not self._over:
            self._run.trace.append((self.loop.time(), who, what))

    @property
    def state(self) -> State:
        """What the controller knows."""
        return self.arranged.controller.state

    def heard(self, event: events.Event, before: State, after: State) -> None:
        """The controller has heard something: what it makes of that must be right."""
        self._facts.heard(event, before, after, self.loop.time())

    def acting(self, action: events.Action) -> None:
        """The controller's hands begin an action: strike if a fault waits for it."""
        self._facts.acting(action, self.loop.time())
        if self._begun_at < 0:
            return
        self.occasion(type(action).__name__, getattr(action, "worker", ""))

    def occasion(self, kind: str, worker: str = "") -> None:
        """Something of the kind begins, or has just happened: strike if a fault waits for it."""
        number = self._acted.get(kind, 0)
        self._acted[kind] = number + 1
        for fault in [each for each in self._traps if (each.on, each.at) == (kind, number)]:
            self._traps.remove(fault)
            if kind in EXITS:  # something of what follows from it shall have happened
                self.loop.later(self.network.about(EXITS[kind]), strike, self, fault, worker)
            else:
                self.loop.outside(strike, self, fault, worker)

    def killed(self, process: str) -> None:
        """The controller or a gateway is about to be killed."""
        self._facts.killed(process, self.loop.time())

    def serves(self, name: str) -> bool:
        """Whether some gateway knows the model."""
        return any(each.name == name for _, _, plane in self.arranged.gateways for each in plane.models)

    async def remove(self, name: str) -> None:
        """Serve a model no longer."""
        if not self.serves(name) or name in self._changing:
            return
        self.tell("operator", f"removes {name}")
        self._facts.removed(name)
        await self._change(name, self.arranged.remove(name), False)

    async def add(self, name: str, workers: tuple[str, ...], frame_steps: int) -> None:
        """Serve a model; that may fail when a worker is lost meanwhile."""
        if self.serves(name) or name in self._changing:
            return
        self.tell("operator", f"adds {name}")
        await self._change(name, self.arranged.add(name, workers, frame_steps), True)

    async def _change(self, name: str, doing: Coroutine[Any, Any, None], wanted: bool) -> None:
        """What is said to be done must be so from then on; after an error it may be either way."""
        self._changing.add(name)
        self._facts.wanted.pop(name, None)
        try:
            await doing
        except SynfireError as error:
            self.tell("operator", f"hears {type(error).__name__}: {error}")
        else:
            self._facts.wanted[name] = wanted
            if not wanted:
                self._facts.removed(name)  # whoever has asked meanwhile hears of it, too
            self.tell("operator", f"has {'added' if wanted else 'removed'} {name}")
        finally:
            self._changing.discard(name)

    async def order(self, kind: OrderKind, worker: str = "") -> None:
        """Ask for a planned move; it may turn out to be impossible."""
        self.tell("operator", f"orders {kind} {worker}".rstrip())
        ready = [name for name in self.state.workers if self.state.living(name)]
        old = {"drain": [worker], "upgrade": ready, "rebalance": []}[kind]
        try:
            moved, retired = await self.arranged.order(kind, worker)
        except (TemporaryError, UnknownName) as error:
            self.tell("operator", f"hears {type(error).__name__}: {error}")
            return
        self.tell("operator", f"has it: {moved} stages moved, {retired} workers ended")
        left = [name for name in old if name in self.state.workers]
        if left:
            raise Violation(f"{kind} is said to be done, but {left} are still there")

    async def _live(self) -> None:
        self.arranged = self.served or Together(self.schedule)
        self._facts.keeper = self.arranged.keeper
        callers = Callers(self.arranged, self._facts, self.loop, self.tell)
        async with self.arranged:
            if self.schedule.warm:
                await self.arranged.until_warm()
            self._facts.wanted = {name: True for name, *_ in self.schedule.placed}
            self.tell("test", "begins")
            self._begin()
            await callers.ask(self.schedule.requests)
            await self._rest()
            self._strike_rest()
            await asyncio.gather(*self.operating)
            await self._return()
            await callers.ask(self._probes())
            await self._return()  # a bit that had flipped at rest was found by a probe
            self.tell("test", "is over")
            orphans = any(self._facts.died(name, 0.0) for name, *_ in self.arranged.gateways)
            verdict.check_calm(self.arranged, self.network, orphans)
            self._facts.check(bool(self.network.failing_starts))
            self._count(callers)

    def _probes(self) -> list[Asked]:
        """Last calls of each model that is served, by every gateway: nothing that happened does lasting harm."""
        served = [name for name, *_ in self.schedule.placed if self.serves(name)]
        count = max(self.schedule.gateways, 1)
        return [Asked(f"probe-{name}-{n}", name, 0.0, 1, 6) for name in served for n in range(count)]

    async def _return(self) -> None:
        """Wait until the controller has nothing left to do, and models that were stopped have had the time to come back."""
        await self._rest()
        if any(model.stopped for model in self.state.models.values()):
            await asyncio.sleep(RETURN_S)
            await self._rest()

    async def _rest(self) -> None:
        """Wait until the controller has nothing left to do."""
        until_s = self.loop.time() + CALM_S
        await asyncio.sleep(SETTLE_S)
        while not verdict.at_rest(self.arranged):
            if self.loop.time() > until_s:
                raise Violation(f"the deployment does not come to rest: {verdict.unrest(self.arranged)}")
            await asyncio.sleep(SETTLE_S)

    def _begin(self) -> None:
        self._begun_at = self.loop.steps
        self._arm()

    def _arm(self) -> None:
        """Have the loop call when the next fault is due."""
        self.loop.alarm = self._strike_due
        self.loop.alarm_at = self._begun_at + self._timed[0].at + 1 if self._timed else -1

    def _strike_due(self) -> None:
        while self._timed and self._begun_at + self._timed[0].at < self.loop.steps:
            strike(self, self._timed.pop(0))
        self._arm()

    def _strike_rest(self) -> None:
        """What had no occasion while there were requests strikes now."""
        faults, self._timed, self._traps = [*self._timed, *self._traps], [], []
        self._arm()
        for fault in faults:
            strike(self, fault)

    def _passing(self, link: SimulatedLink, packet: Packet) -> None:
        try:
            self._facts.passes(link, packet)
        except Violation as wrong:  # whoever sends must not take it for an error of his
            self.loop.call_exception_handler({"message": str(wrong), "exception": wrong})
        self.tell(link.owner, f"→ {link.holder}: {verdict.brief(packet.message)}")

    def _count(self, callers: Callers) -> None:
        routes = [route for _, routes, _ in self.arranged.gateways for route in routes.by_model.values()]
        self._run.answered, self._run.errors = callers.answered, callers.errors
        self._run.recoveries = len(self.arranged.records)
        self._run.replays = sum(route.replays for route in routes)
        self._run.restored = sum(route.restored for route in routes)
