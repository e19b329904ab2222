"""One schedule, lived through once: who calls, what strikes, and when it is over."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError, TemporaryError, UnknownName
from synfire.control import events
from synfire.control.order import OrderKind
from synfire.control.state import State
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.testing.simulation import verdict
from synfire.testing.simulation.callers import Callers
from synfire.testing.simulation.deployment import SimulatedDeployment, simulated
from synfire.testing.simulation.faults import strike
from synfire.testing.simulation.loop import VirtualLoop
from synfire.testing.simulation.models import model
from synfire.testing.simulation.network import Network, SimulatedLink
from synfire.testing.simulation.schedules import PATIENT_S, Asked, Schedule, smaller
from synfire.testing.simulation.verdict import Violation
from synfire.wire.stream import Packet

CALM_S = 120.0
"""Virtual time after which a deployment must have come to rest: far longer than any recovery."""

SETTLE_S = 0.5
"""Virtual time after which whatever happened has been noticed, a hang included."""

RETURN_S = 150.0
"""Virtual time after which models that were stopped have had every chance to come back."""

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


class Simulation:
    """A schedule on its way. `operating` are additions and removals of models that go on."""

    _plane: DataPlane
    _deployment: SimulatedDeployment

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.loop = VirtualLoop(schedule.seed, schedule.shuffled, MAX_STEPS)
        self.network = Network(self.loop, schedule.seed + 1, self.tell, schedule.encoded)
        self.network.passing = self._passing
        self.network.inspect = lambda worker: verdict.check_worker(worker, schedule.memory)
        self.operating: list[asyncio.Future[None]] = []
        self._run = Run(schedule)
        self._facts = verdict.Facts(lambda: self.state)
        self._begun_at = -1
        self._timed = sorted((each for each in schedule.faults if not each.on), key=lambda each: each.at)
        self._traps = [each for each in schedule.faults if each.on]
        self._coming: set[str] = set()
        self._acted: dict[str, int] = {}

    def run(self) -> Run:
        """Live through it."""
        with simulated(self.loop, self.network):
            try:
                self.loop.run_until_complete(self._live())
                verdict.check_stopped(self.loop, self.network)
            except Exception as error:  # whatever it is, it should not have come up to here
                self._run.violation = f"{type(error).__name__}: {error}"
            self._run.steps = self.loop.steps
            if self._run.violation:
                self.loop.abandon()
            self.loop.close()
        return self._run

    def tell(self, who: str, what: str) -> None:
        """Take down that something happened."""
        self._run.trace.append((self.loop.time(), who, what))

    @property
    def state(self) -> State:
        """What the controller knows."""
        return self._deployment.controller.state

    def heard(self, before: State, after: State) -> None:
        """The controller has heard something: what it makes of that must be right."""
        self._facts.heard(before, after)

    def acting(self, action: events.Action) -> None:
        """The controller's hands begin an action: strike if a fault waits for it."""
        self._facts.acting(action, self.loop.time())
        if self._begun_at < 0:
            return
        kind = type(action).__name__
        number = self._acted.get(kind, 0)
        self._acted[kind] = number + 1
        for fault in [each for each in self._traps if (each.on, each.at) == (kind, number)]:
            self._traps.remove(fault)
            strike(self, fault, getattr(action, "worker", ""))

    def serves(self, name: str) -> bool:
        """Whether the gateway knows the model."""
        return any(each.name == name for each in self._plane.models)

    async def remove(self, name: str) -> None:
        """Serve a model no longer."""
        if not self.serves(name):
            return
        self.tell("operator", f"removes {name}")
        self._facts.removed(name)
        self._plane.remove(name)
        await self._deployment.remove(name)

    async def add(self, name: str, workers: tuple[str, ...], frame_steps: int) -> None:
        """Serve a model; that may fail when a worker is lost meanwhile."""
        if name in self._deployment.models or name in self._coming:
            return
        self._coming.add(name)
        self.tell("operator", f"adds {name}")
        try:
            await self._deployment.add(name, *model(name, workers, frame_steps))
        except SynfireError as error:
            self.tell("operator", f"hears {type(error).__name__}: {error}")
        else:
            self._plane.add(name, self._deployment.routes[name])
            self.tell("operator", f"has added {name}")
        finally:
            self._coming.discard(name)

    async def order(self, kind: OrderKind, worker: str = "") -> None:
        """Ask for a planned move; it may turn out to be impossible."""
        self.tell("operator", f"orders {kind} {worker}".rstrip())
        ready = [name for name in self.state.workers if self.state.living(name)]
        old = {"drain": [worker], "upgrade": ready, "rebalance": []}[kind]
        try:
            done = await self._deployment.order(kind, worker)
        except (TemporaryError, UnknownName) as error:
            self.tell("operator", f"hears {type(error).__name__}: {error}")
            return
        self.tell("operator", f"has it: {len(done.moved)} stages moved, {len(done.retired)} workers ended")
        left = [name for name in old if name in self.state.workers]
        if left:
            raise Violation(f"{kind} is said to be done, but {left} are still there")

    async def _live(self) -> None:
        self._plane = DataPlane(Limits(timeout_s=PATIENT_S), SystemClock())
        self._deployment = SimulatedDeployment(self.schedule.models(), self.schedule.settings(), self)
        callers = Callers(self._plane, self._facts, self.loop, self.tell)
        async with self._deployment:
            for name, route in self._deployment.routes.items():
                self._plane.add(name, route)
            if self.schedule.warm:
                await self._deployment.until_warm()
            self.tell("test", "begins")
            self._begin()
            await callers.ask(self.schedule.requests)
            await self._rest()
            self._strike_rest()
            await asyncio.gather(*self.operating)
            await self._rest()
            if any(model.stopped for model in self.state.models.values()):
                await asyncio.sleep(RETURN_S)
                await self._rest()
            await callers.ask(self._probes())
            await self._rest()
            self.tell("test", "is over")
            verdict.check_calm(self._deployment, self.network)
            self._facts.check(bool(self.network.failing_starts))
            self._count(callers)

    def _probes(self) -> list[Asked]:
        """A last call of each model that is served: nothing that happened does lasting harm."""
        served = [name for name, *_ in self.schedule.placed if self.serves(name)]
        return [Asked(f"probe-{name}", name, 0.0, 1, 6) for name in served]

    async def _rest(self) -> None:
        """Wait until the controller has nothing left to do."""
        until_s = self.loop.time() + CALM_S
        await asyncio.sleep(SETTLE_S)
        while not verdict.at_rest(self._deployment):
            if self.loop.time() > until_s:
                raise Violation(f"the deployment does not come to rest: {verdict.unrest(self._deployment)}")
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
        self._facts.passes(link, packet)
        self.tell(link.owner, f"→ {link.holder}: {verdict.brief(packet.message)}")

    def _count(self, callers: Callers) -> None:
        routes = self._deployment.routes.values()
        self._run.answered, self._run.errors = callers.answered, callers.errors
        self._run.recoveries = len(self._deployment.records)
        self._run.replays = sum(route.replays for route in routes)
        self._run.restored = sum(route.restored for route in routes)
