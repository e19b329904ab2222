"""One data plane behind every protocol: admits, orders, times and counts calls, and lays them out for routes."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

import msgspec

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import Bug, SynfireError, TemporaryError, UnknownName, UserError
from synfire.base.keys import Keys
from synfire.base.log import LOGGER
from synfire.gateway.call import Call, Part, Route
from synfire.gateway.deadline import Deadline
from synfire.gateway.gate import Gate
from synfire.gateway.inputs import Intake, samples
from synfire.gateway.limits import Limits
from synfire.gateway.neighbours import Neighbours
from synfire.gateway.on_demand import OnDemand
from synfire.gateway.outputs import Outlet
from synfire.gateway.protection import Protection
from synfire.gateway.recoveries import Recoveries
from synfire.gateway.request import Answer, Request
from synfire.gateway.sessions import Sessions
from synfire.gateway.shadows import Given, Shadows
from synfire.gateway.side import Side
from synfire.gateway.statistics import Statistics
from synfire.gateway.traffic import Traffic, choose
from synfire.plan import Plan
from synfire.store.names import LATEST, parted
from synfire.wire.condition import Condition
from synfire.wire.messages import Description
from synfire.wire.traffic import Rule

DEFAULT_VERSION = "1"
DESCRIBE_S = 2.0
"""How long a worker may take to describe itself, which it does between two jobs."""


@dataclass(frozen=True)
class Model:
    """A served model: its route and what the gateway keeps beside it."""

    name: str
    version: str
    route: Route
    intake: Intake
    outlet: Outlet
    gate: Gate
    sessions: Sessions
    priority: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    side: Side | None = None
    """The part in which it is called, where it answers for a name by a rule."""

    @property
    def counted(self) -> tuple[Statistics, ...]:
        """Where its calls are counted."""
        return (self.statistics,) if self.side is None else (self.statistics, self.side.statistics)

    @property
    def ready(self) -> bool:
        """Whether the route can answer now; one that does not say always can."""
        return bool(getattr(self.route, "ready", True))

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans that its calls follow now, one for each of its replicas."""
        return tuple(getattr(self.route, "plans", (self.route.plan,)))

    @property
    def failure(self) -> str:
        """Why calls are answered by an error; empty while they are not."""
        return str(getattr(self.route, "failure", None) or "")

    @property
    def protection(self) -> Protection | None:
        """What is kept of sessions, so that they outlive workers; None for a route that has none."""
        return getattr(self.route, "sessions", None)


class Repository(Protocol):
    """Changes what is served, and by which rules, at every gateway; returns when that is done. Raises what stands against it."""

    async def load(self, model: str) -> None: ...
    async def unload(self, model: str) -> None: ...
    async def steer(self, rule: Rule) -> None: ...


class DataPlane:
    """Holds the routes of served models and answers requests through them.

    Made and used in one event loop. `clock` dates deadlines and sessions; `keys` are asked for by every protocol, and
    come from the environment where none are given.
    """

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None, keys: Keys | None = None) -> None:
        self.limits = limits or Limits()
        self.keys = Keys.from_environment() if keys is None else keys
        self._clock = clock or SystemClock()
        self._models: dict[str, dict[str, Model]] = {}
        self.traffic = Traffic()
        """The rules by which names answer that are more than a model's."""

        self.shadows = Shadows(self, self.traffic)
        self._ids = (f"{os.getpid():x}-{n}" for n in itertools.count(1))
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        self.local = False
        """Whether the deployment answers this machine alone."""

        self.describe_workers: Callable[[], Awaitable[Mapping[str, Description]]] | None = None
        """Tells what each worker hosts and did; the deployment sets it, and metrics and `/api/workers` ask it."""

        self.repository: Repository | None = None
        """Who loads and unloads models, where somebody does."""

        self.on_demand: OnDemand | None = None
        """The models of the store, where these are loaded when they are called."""

        self.neighbours: Neighbours | None = None
        """The other gateways of the deployment, where there are any: they keep some of the sessions."""

        self.recoveries: Recoveries | None = None
        """What is known of failures; the deployment sets it, where it heals itself."""

    @property
    def ready(self) -> bool:
        """Whether calls are accepted, and every model's route can answer them."""
        return not self.draining and all(model.ready for model in self.models)

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every model, by name, then in the order of being added."""
        return tuple(model for name in sorted(self._models) for model in self._models[name].values())

    def add(self, name: str, route: Route, version: str = DEFAULT_VERSION, priority: int = 0) -> Model:
        """Serve `route` under a name and version. The highest version answers calls that name none; where one of them is no number,
        the one added last.

        `priority` is told to whoever asks; whoever places the model goes by it.
        """
        if not name or "@" in name or not version or set("/@") & set(version):
            raise UserError(
                f"model {name!r} version {version!r}: names are not empty and hold no '@', and versions no '/' either"
            )
        if version in self._models.get(name, {}):
            raise UserError(f"model {name!r} version {version!r} is served already; remove it first or name another")
        limits = self.limits
        model = Model(
            name,
            version,
            route,
            Intake(route.graph, limits),
            Outlet(route.graph),
            Gate(name, limits),
            Sessions(name, limits, self._clock),
            priority,
        )
        self._models.setdefault(name, {})[version] = model
        return model

    def remove(self, name: str, version: str = "") -> Route:
        """Stop to serve a model, and return its route; calls that it accepted go on."""
        model = self.model(name, version)
        del self._models[model.name][model.version]
        if not self._models[model.name]:
            del self._models[model.name]
        return model.route

    def model(self, name: str, version: str = "") -> Model:
        """The model called `name` or `name@version`; without a version the newest. Of a name that answers by a rule it is the side of
        that version, or else the one with the greatest share. Raises `UnknownName`."""
        name, _, tagged = name.partition("@")
        name = self._spoken(name)
        versions = self._models.get(name)
        rule = self.traffic.rules.get(name)
        if rule is not None and not versions:
            return self._of_rule(rule, version or tagged)
        if not versions:
            raise UnknownName.among("model", name, {*self._models, *self.traffic.rules})
        wanted = version or tagged or newest(versions)
        if wanted not in versions:
            raise UnknownName.among(f"version of model {name!r}", wanted, versions)
        return versions[wanted]

    async def called(self, name: str, version: str = "", key: str = "", session: str = "") -> Model:
        """The model as `model` has it, or, by a rule, the side that answers calls with that `key`, of that `session`. Where it is one of
        the store's and not there it is loaded, and waited for.

        Raises as `model` does, and what stands against loading it.
        """
        side = None if version or "@" in name else self._side(self._spoken(name), key, session)
        if side is None:
            return await self._there(name, version)
        return replace(await self._there(side.model), side=side)

    async def described(self, name: str, version: str = "") -> Model:
        """The model that is told of when a name is asked about: as `model` has it; one of the store's that is not there is loaded."""
        try:
            return self.model(name, version)
        except UnknownName:
            rule = None if version else self.traffic.rules.get(self._spoken(name))
            return await self._there(name if rule is None else rule.heaviest, version)

    def answering(self, name: str, version: str = "") -> tuple[Model, ...]:
        """The models that have to be ready for a name to be: the sides that get calls, as far as they are loaded, or the model of that name.
        Raises as `model` does."""
        rule = None if version else self.traffic.rules.get(self._spoken(name))
        if rule is None:
            return (self.model(name, version),)
        return tuple(model for each in rule.sides if each.percent and (model := self._known(each.model)) is not None)

    def keep(self, model: Model, seconds: float | None) -> None:
        """Have a model that was loaded on demand stay for so long after its last call, None for as long as is usual; one that is always
        there does."""
        if self.on_demand is not None:
            self.on_demand.keep(model.name, seconds)

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model. Raises `UnknownName`."""
        return tuple(self._models[self.model(name).name])

    @property
    def names(self) -> tuple[str, ...]:
        """All names that callers may call, but for those of the store."""
        return tuple(sorted({*self._models, *self.traffic.rules}))

    @property
    def ruled(self) -> tuple[tuple[str, Model], ...]:
        """The names that are no model's and answer by a rule, each with the side of the greatest share; those are left out that
        cannot be told of, because they are not loaded."""
        found = ((name, self._known(rule.heaviest)) for name, rule in sorted(self.traffic.rules.items()))
        return tuple((name, model) for name, model in found if model is not None and name not in self._models)

    def condition(self, model: Model) -> Condition:
        """How the model is served. That it is stopped its route knows first; all else the controller tells."""
        if model.failure:
            return Condition("stopped", model.failure)
        if self.recoveries is None:
            return Condition()
        key = (model.name, model.version)
        told = [each for name, each in self.recoveries.conditions.items() if parted(name, model.version) == key]
        return next((each for each in told if each.reason), Condition())

    async def infer(self, request: Request) -> Answer:
        """The whole answer. Raises a `SynfireError` that says who has to act."""
        elsewhere = self._elsewhere(request)
        if elsewhere is not None:
            return await elsewhere.infer(request)
        model = await self._asked(request)
        async with aclosing(self._parts(model, request)) as parts:
            gathered = [(call, part) async for call, part in parts]
        outputs = model.outlet.lay_out([part for _, part in gathered], request.outputs)
        steps = sum(part.steps for _, part in gathered)
        answer = Answer(model.name, model.version, gathered[0][0].id, outputs, 0, steps)
        if model.side is not None:
            self.shadows.copy(model.side, Given(request, (answer,), False, model.route.graph.open_ended))
        return answer

    async def stream(self, request: Request) -> AsyncGenerator[Answer, None]:
        """The answer as it comes, `part_steps` time steps at a time; the last has `last`. Raises as `infer` does.

        Closing the iterator early cancels the call.
        """
        elsewhere = self._elsewhere(request)
        if elsewhere is not None:
            async with aclosing(elsewhere.stream(request)) as answers:
                async for answer in answers:
                    yield answer
            return
        model = await self._asked(request)
        paced = msgspec.structs.replace(request, part_steps=request.part_steps or 1)
        given = []
        async with aclosing(self._parts(model, paced)) as parts:
            async for call, part in parts:
                outputs = model.outlet.lay_out([part], request.outputs)
                answer = Answer(model.name, model.version, call.id, outputs, part.first_step, part.steps, part.last)
                if model.side is not None and model.side.rule.shadow is not None:
                    given.append(answer)
                yield answer
        if model.side is not None and given:
            self.shadows.copy(model.side, Given(request, given, True, model.route.graph.open_ended))

    async def workers(self) -> Mapping[str, Description]:
        """What each worker did so far, by name; empty when there are none, or one of them does not answer."""
        if self.describe_workers is None:
            return {}
        try:
            async with asyncio.timeout(DESCRIBE_S):
                return await self.describe_workers()
        except (TimeoutError, SynfireError) as error:
            LOGGER.warning("the workers cannot be described now: %s", error or f"no answer within {DESCRIBE_S} s")
            return {}

    async def drain(self) -> None:
        """Refuse new calls from now on, and return when every accepted one is answered."""
        self.draining = True
        await self._idle.wait()

    def _elsewhere(self, request: Request) -> Neighbours | None:
        """The other gateways, where one of them keeps the request's session. Steps of chains and copies for shadows stay here."""
        if self.neighbours is None or request.within or request.side:
            return None
        return self.neighbours if self.neighbours.keeps(request.session) else None

    async def _parts(self, model: Model, request: Request) -> AsyncGenerator[tuple[Call, Part], None]:
        with _Counted(self, model) as arrived_s:
            call, batch = self._check(model, request, arrived_s)
            with model.gate, closing(self._deadline(call)) as deadline:
                async with (
                    model.sessions.turn(call.session, call.start, call.end, batch, deadline) as session,
                    model.gate.slot(deadline),
                ):
                    if session is not None:
                        session.whole = False
                    began_s = self._clock.now_s()
                    async with aclosing(_Within(deadline, model, call)) as parts:
                        async for part in parts:
                            yield call, part
            done_s = self._clock.now_s()
            for counted in model.counted:
                counted.queue.add(began_s - arrived_s)
                counted.compute.add(done_s - began_s)
                counted.answered(done_s - arrived_s, batch, time.time())

    async def _asked(self, request: Request) -> Model:
        """The model that answers a request. Raises as `called` does."""
        if request.side is not None:
            return replace(await self._there(request.model, request.version), side=request.side)
        return await self.called(request.model, request.version, request.caller or request.id, request.session)

    async def _there(self, name: str, version: str = "") -> Model:
        """The model of a name, whatever rule that has; loaded where it is not there."""
        if self.on_demand is not None and self._spoken(name.partition("@")[0]) not in self._models:
            name = await self.on_demand.find(name)
            if name not in self._models:
                await self.on_demand.load(name)
        return self.model(name, version)

    def _side(self, name: str, key: str, session: str) -> Side | None:
        """The side that answers a call of a name; None where that has no rule. A session that is open stays where it is until it ends."""
        rule = self.traffic.rules.get(name)
        if session:
            for home in self.traffic.homes(name):
                if (model := self._known(home)) is not None and session in model.sessions:
                    return self.traffic.side(rule or Rule(name, ()), home)
        return self.traffic.side(rule, choose(rule, session or key or next(self._ids))) if rule is not None else None

    def _of_rule(self, rule: Rule, version: str) -> Model:
        if not version:
            return self.model(rule.heaviest)
        found = {model.version: model for side in rule.sides if (model := self._known(side.model)) is not None}
        if version not in found:
            raise UnknownName.among(f"version of {rule.name!r} among its sides", version, found)
        return found[version]

    def _known(self, model: str) -> Model | None:
        """The model of that name, or of that name and version, if it is there."""
        name, _, version = model.partition("@")
        versions = self._models.get(name, {})
        return versions.get(version or (newest(versions) if versions else ""))

    def _spoken(self, name: str) -> str:
        """The name that a model is served by, of those that it may be called."""
        known = name in self._models or name in self.traffic.rules
        return name if known else name.removesuffix(f":{LATEST}")

    def _arrive(self, model: Model) -> float:
        """A call begins; when that is."""
        if self.on_demand is not None:
            self.on_demand.begun(model.name)
        self._active += 1
        self._idle.clear()
        return self._clock.now_s()

    def _leave(self, model: Model, arrived_s: float, error: BaseException | None) -> None:
        """A call has ended, by an answer or by an error."""
        if error is not None:
            for counted in model.counted:
                counted.failed(error, self._clock.now_s() - arrived_s)
        if self.on_demand is not None:
            self.on_demand.ended(model.name)
        self._active -= 1
        if not self._active:
            self._idle.set()

    def _check(self, model: Model, request: Request, arrived_s: float) -> tuple[Call, int]:
        if self.draining and not request.within:
            raise TemporaryError(
                "the gateway is shutting down and takes no new call; call another one, or this one when it is back",
                self.limits.retry_after_s,
            )
        inputs = model.intake(request.inputs)
        model.outlet.check(request.outputs)
        if not request.session and (request.start or request.end):
            raise UserError("sequence_start and sequence_end need a sequence_id; name one, or leave them out")
        deadline_s = arrived_s + self._timeout_s(request, model.route.graph.open_ended)
        name = request.id or next(self._ids)
        call = Call(
            name, model.name, inputs, request.session, request.start, request.end, deadline_s, request.part_steps
        )
        return call, samples(model.route.graph, inputs)

    def _timeout_s(self, request: Request, open_ended: bool) -> float:
        most_s = self.limits.open_ended_timeout_s if open_ended else self.limits.timeout_s
        if request.timeout_s is None:
            return most_s
        if not request.timeout_s > 0:
            raise UserError(f"the timeout is {request.timeout_s} s; it must be above 0, or left out")
        return min(request.timeout_s, most_s)

    def _deadline(self, call: Call) -> Deadline:
        return Deadline(f"{call.id} of model {call.model!r}", (call.deadline_s or 0.0) - self._clock.now_s())


def newest(versions: Collection[str]) -> str:
    """The version that is meant where none is named: by number, or, where that is not what they are, the one that came last."""
    if all(each.isdecimal() for each in versions):
        return max(versions, key=int)
    return list(versions)[-1]


class _Counted:
    """Counts a call in for a block, which is told when it began, and how it ended. A class, since there is one for each call."""

    __slots__ = ("_arrived_s", "_model", "_plane")

    def __init__(self, plane: DataPlane, model: Model) -> None:
        self._plane = plane
        self._model = model

    def __enter__(self) -> float:
        self._arrived_s = self._plane._arrive(self._model)
        return self._arrived_s

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plane._leave(self._model, self._arrived_s, error)


class _Within:
    """The route's parts of a call, each before the deadline. A class, since a generator more would cost each call."""

    __slots__ = ("_call", "_deadline", "_last", "_model", "_parts")

    def __init__(self, deadline: Deadline, model: Model, call: Call) -> None:
        self._deadline = deadline
        self._model = model
        self._call = call
        self._parts = model.route.answer(call)
        self._last = False

    def __aiter__(self) -> _Within:
        return self

    async def __anext__(self) -> Part:
        with self._deadline("while it was computed"):
            part = await anext(self._parts, None)
        if part is None and self._last:
            raise StopAsyncIteration
        if part is None or self._last:
            raise Bug(f"the route of model {self._model.name!r} did not end request {self._call.id} with a last part")
        self._last = part.last
        return part

    async def aclose(self) -> None:
        if isinstance(self._parts, AsyncGenerator):
            await self._parts.aclose()
