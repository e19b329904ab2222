"""Gateways as processes of their own, as the controller sees them: each is told everything, and told again when it is back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.deploy.door import Visitor
from synfire.deploy.ledger import Wanted
from synfire.gateway.route import Again
from synfire.graph import Graph
from synfire.plan import Plan
from synfire.wire.chain import ChainState
from synfire.wire.messages import (
    BUSY,
    AnyMessage,
    Attend,
    Chained,
    Chaining,
    Cut,
    Direct,
    Done,
    Member,
    Members,
    Move,
    Pressure,
    Reload,
    Residents,
    Rest,
    Standing,
    Steer,
    Tally,
    Traffic,
    Unload,
    Unwanted,
    Uses,
    Want,
    Wanting,
    Whole,
    Withdraw,
)
from synfire.wire.traffic import Rule

News = Members | Standing | Residents | Unwanted
"""What gateways are told without being asked to answer."""

ANSWER_S = 0.3
"""How long a gateway may take to hold a model's calls, or to let them go, as long as a worker may be silent. One that takes
longer is not waited for: it has to come back, and is told everything anew. Meanwhile workers refuse what it sends."""

RETIRE_S, RETIRE_AGAIN_S = 75.0, 0.1
"""How long a replica that is one too many may take to answer what it has: the longest deadline, and some; and how often that is asked."""

LOAD_S = 60.0
"""How long it may take to begin to serve a model, which it reads from the store."""


@dataclass(frozen=True)
class Course:
    """How the calls of a model go now."""

    plan: Plan
    epoch: int = 0
    held: bool = False
    failure: str = ""
    retry_after_s: float = 1.0


class Attendant:
    """One gateway, on which the controller counts from when it has `caught_up` until it is lost, or does not answer in time."""

    def __init__(self, visitor: Visitor) -> None:
        self.caught_up = False
        self._visitor = visitor
        self._asked: deque[asyncio.Future[Done]] = deque()

    def tell(self, message: AnyMessage) -> asyncio.Future[Done]:
        """Send an order; its answer."""
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._visitor.tell(message)
        return answer

    def hear_of(self, message: News) -> None:
        """Send what is not answered."""
        self._visitor.tell(message)

    def answer(self, done: Done) -> None:
        """The oldest order is done."""
        answer = self._asked.popleft()
        if not answer.done():
            answer.set_result(done)

    def leave(self) -> None:
        """Nothing is to be expected any more."""
        self._visitor.close()
        while self._asked:
            self._asked.popleft().cancel()


class RemoteGateways:
    """All gateways that attend, and what they have to know; see `synfire.deploy.gateways.Gateways`. `wanted` are the models."""

    def __init__(self, wanted: Mapping[str, Wanted]) -> None:
        self.attending: dict[str, Attendant] = {}
        self._wanted = wanted
        self._members: dict[str, Member] = {}
        self._courses: dict[str, Course] = {}
        self._standing: Standing | None = None
        self._residents = Residents()
        self._traffic = Traffic()
        self._chains: dict[str, ChainState] = {}
        self._more = asyncio.Event()
        self._cut: Callable[[str, str, float], None] = lambda worker, by, for_s: None
        self._seen: Callable[[Mapping[str, int]], None] = lambda epochs: None
        self._ordered: Callable[[Visitor, AnyMessage], None] = lambda visitor, order: None
        self._called: Callable[[str, Want | Uses], None] = lambda gateway, message: None
        self._pressed: Callable[[str, Pressure], None] = lambda gateway, message: None
        self._tallied: Callable[[str, Tally], None] = lambda gateway, message: None

    def on_cut(self, act: Callable[[str, str, float], None]) -> None:
        self._cut = act

    def on_epochs(self, act: Callable[[Mapping[str, int]], None]) -> None:
        """Call `act` with the epochs, by model, that a gateway follows when it begins to attend."""
        self._seen = act

    def on_order(self, act: Callable[[Visitor, AnyMessage], None]) -> None:
        """Call `act` when a gateway's caller has ordered something; it is to be answered by `Done`."""
        self._ordered = act

    def on_calls(self, act: Callable[[str, Want | Uses], None]) -> None:
        """Call `act` with a gateway's name when it wants a model of the store, or tells how such models are used. When it attends no
        longer it uses nothing."""
        self._called = act

    def on_pressure(self, act: Callable[[str, Pressure], None]) -> None:
        """Call `act` with a gateway's name when it tells how many calls of scaled models it has; none when it attends no longer."""
        self._pressed = act

    def on_tally(self, act: Callable[[str, Tally], None]) -> None:
        """Call `act` with a gateway's name when it tells what it has counted of names that answer by a rule."""
        self._tallied = act

    def attend(self, visitor: Visitor) -> None:
        """A gateway has come: once it has said what it follows, it is told everything."""
        assert visitor.hello is not None
        who, attendant = visitor.hello.who, Attendant(visitor)
        visitor.take = lambda message: self._take(who, visitor, attendant, message)
        visitor.lost = lambda error: self._lose(who, attendant, str(error))

    async def caught_up(self, count: int, within_s: float) -> None:
        """Wait until so many gateways know everything, but not for longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while sum(each.caught_up for each in self.attending.values()) < count:
                    await self._more.wait()
                    self._more.clear()

    async def reach(self, worker: str, address: str, url: str = "") -> None:
        self._members[worker] = Member(worker, address, url)
        self._tell_members()

    def part(self, worker: str) -> None:
        if self._members.pop(worker, None) is not None:
            self._tell_members()

    async def serve(self, model: str, graph: Graph, plan: Plan, epoch: int = 0) -> None:
        self._courses[model] = Course(plan, epoch)
        await self._all(self._direction(model), LOAD_S, also_late=True)

    async def suspend(self, model: str, epoch: int) -> None:
        await self._steer(model, replace(self._courses[model], epoch=epoch, held=True))

    async def resume(self, model: str, plan: Plan, epoch: int) -> Again:
        return await self._steer(model, Course(plan, epoch))

    async def fail(self, model: str, epoch: int, error: SynfireError) -> None:
        retry_after_s = getattr(error, "retry_after_s", 1.0)
        course = replace(self._courses[model], epoch=epoch, failure=str(error), retry_after_s=retry_after_s)
        await self._steer(model, course)

    async def remove(self, model: str) -> None:
        self._courses.pop(model, None)
        await self._all(Withdraw(model), ANSWER_S)

    async def rest(self, model: str, idle_s: float) -> bool:
        """Have every gateway serve the model no longer, if none was called for it for `idle_s` seconds; whether that is so now. Where
        it is not, all serve it on."""
        course = self._courses.pop(model)  # whoever begins to attend meanwhile shall not serve it
        answers = [attendant.tell(Rest(model, idle_s)) for attendant in list(self.attending.values())]
        if answers:
            await asyncio.wait(answers, timeout=ANSWER_S)
        if all(each.cancelled() or (each.done() and each.result().told != BUSY) for each in answers):
            return True
        self._courses[model] = course
        await self._all(self._direction(model), ANSWER_S)
        return False

    async def retire(self, model: str) -> None:
        """Have no gateway send new calls to a replica that others stand beside; return when it has none left, or after a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETIRE_S):
                while await self._busy(Rest(model, closing=True)):
                    await asyncio.sleep(RETIRE_AGAIN_S)

    async def _busy(self, order: Rest) -> bool:
        """Whether a gateway that attends still has calls of the model."""
        answers = [attendant.tell(order) for attendant in list(self.attending.values())]
        if answers:
            await asyncio.wait(answers, timeout=ANSWER_S)
        return any(each.done() and not each.cancelled() and each.result().told == BUSY for each in answers)

    def refuse(self, refusal: Unwanted) -> None:
        """Tell why a model cannot be loaded."""
        self._tell_all(refusal)

    def reside(self, residents: Residents) -> None:
        """Tell which models were loaded on demand."""
        if residents != self._residents:
            self._residents = residents
            self._tell_all(residents)

    def expect(self, model: str, course: Course) -> None:
        """Gateways that come are to know this; those that a controller before this one has told know it already."""
        self._courses[model] = course

    def begin_traffic(self, rules: Iterable[Rule]) -> None:
        """Names answer by these rules; gateways that come are to know it."""
        self._traffic = Traffic(tuple(rules))

    async def steer(self, rules: Iterable[Rule]) -> None:
        """Have every gateway answer by these rules, and no other."""
        self.begin_traffic(rules)
        await self._all(self._traffic, ANSWER_S)

    async def chain(self, state: ChainState) -> None:
        """Have every gateway serve a chain so, or no longer where it has no content."""
        if state.content:
            self._chains[state.name] = state
        else:
            self._chains.pop(state.name, None)
        await self._all(Chained(state), ANSWER_S)

    def stand(self, news: Standing) -> None:
        """Tell how things stand."""
        if news != self._standing:
            self._standing = news
            self._tell_all(news)

    async def _steer(self, model: str, course: Course, within_s: float = ANSWER_S) -> Again:
        self._courses[model] = course
        return await self._all(self._direction(model), within_s)

    def _direction(self, model: str) -> Direct:
        wanted, course = self._wanted[model], self._courses[model]
        told = (course.plan, course.epoch, course.held, course.failure, course.retry_after_s)
        return Direct(model, wanted.version, wanted.digest, *told, wanted.priority, wanted.on_demand)

    async def _all(self, order: AnyMessage, within_s: float, also_late: bool = False) -> Again:
        """Have every gateway do it, and wait for those that have caught up, or `also_late` for all; what begins again for it."""
        attending = dict(self.attending)  # telling may find out that one is gone
        answers = {who: attendant.tell(order) for who, attendant in attending.items()}
        counted = [answer for who, answer in answers.items() if also_late or attending[who].caught_up]
        if not counted:
            return Again()
        await asyncio.wait(counted, timeout=within_s)
        for who, answer in answers.items():
            attendant = self.attending.get(who)
            if attendant is not None and attendant.caught_up and not answer.done():
                self._lose(who, attendant, f"it has not answered within {within_s} s")
        done = [each.result() for each in counted if each.done() and not each.cancelled()]
        return Again(sum(each.replayed for each in done), sum(each.restored for each in done))

    def _take(self, who: str, visitor: Visitor, attendant: Attendant, message: AnyMessage) -> None:
        if isinstance(message, Attend):
            self._seen(message.epochs)
            self.attending[who] = attendant
            self._tell_everything(who, attendant)
        elif isinstance(message, Done):
            if message.kind:
                LOGGER.error("gateway %s cannot do what it should: %s", who, message.text)
            attendant.answer(message)
        elif isinstance(message, Cut):
            self._cut(message.worker, message.by, message.for_s)
        elif isinstance(message, (Unload, Reload, Wanting, Steer, Chaining, Move)):
            self._ordered(visitor, message)
        elif isinstance(message, (Want, Uses)):
            self._called(who, message)
        elif isinstance(message, Pressure):
            self._pressed(who, message)
        elif isinstance(message, Tally):
            self._tallied(who, message)

    def _tell_everything(self, who: str, attendant: Attendant) -> None:
        attendant.hear_of(Members(tuple(self._members.values())))
        for model in self._courses:
            attendant.tell(self._direction(model))
        for state in self._chains.values():
            attendant.tell(Chained(state))
        whole = attendant.tell(Whole(tuple(self._courses), self._traffic.rules, tuple(self._chains)))
        whole.add_done_callback(lambda answer: None if answer.cancelled() else self._caught_up(who, attendant))
        if self._standing is not None:  # before there is any, it goes by what it was told last
            attendant.hear_of(self._standing)
        attendant.hear_of(self._residents)

    def _caught_up(self, who: str, attendant: Attendant) -> None:
        LOGGER.info("gateway %s attends", who)
        attendant.caught_up = True
        self._more.set()

    def _tell_members(self) -> None:
        self._tell_all(Members(tuple(self._members.values())))

    def _tell_all(self, news: News) -> None:
        for attendant in list(self.attending.values()):  # telling may find out that one is gone
            attendant.hear_of(news)

    def _lose(self, who: str, attendant: Attendant, why: str) -> None:
        if self.attending.get(who) is attendant:
            LOGGER.info("gateway %s attends no longer: %s", who, why)
            del self.attending[who]
            self._called(who, Uses())
            self._pressed(who, Pressure())
        attendant.leave()
