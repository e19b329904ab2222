"""One data plane behind every protocol: admits, orders, times and counts calls, and lays them out for routes."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field
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
from synfire.gateway.statistics import Statistics
from synfire.store.names import LATEST
from synfire.wire.condition import Condition
from synfire.wire.messages import Description

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

    @property
    def ready(self) -> bool:
        """Whether the route can answer now; one that does not say always can."""
        return bool(getattr(self.route, "ready", True))

    @property
    def failure(self) -> str:
        """Why calls are answered by an error; empty while they are not."""
        return str(getattr(self.route, "failure", None) or "")

    @property
    def protection(self) -> Protection | None:
        """What is kept of sessions, so that they outlive workers; None for a route that has none."""
        return getattr(self.route, "sessions", None)


class Repository(Protocol):
    """Changes what is served, at every gateway; returns when that is done. Raises what stands against it."""

    async def load(self, model: str) -> None: ...
    async def unload(self, model: str) -> None: ...


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
        """Serve `route` under a name and version; the version added last answers calls that name none.

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
        """The model called `name` or `name@version`; without a version the newest. Raises `UnknownName`."""
        name, _, tagged = name.partition("@")
        name = self._spoken(name)
        versions = self._models.get(name)
        if not versions:
            raise UnknownName.among("model", name, self._models)
        wanted = version or tagged or next(reversed(versions))
        if wanted not in versions:
            raise UnknownName.among(f"version of model {name!r}", wanted, versions)
        return versions[wanted]

    async def called(self, name: str, version: str = "") -> Model:
        """The model as `model` has it; where it is one of the store's and not there it is loaded, and waited for.

        Raises as `model` does, and what stands against loading it.
        """
        if self.on_demand is not None and self._spoken(name.partition("@")[0]) not in self._models:
            name = await self.on_demand.find(name)
            if name not in self._models:
                await self.on_demand.load(name)
        return self.model(name, version)

    def keep(self, model: Model, seconds: float | None) -> None:
        """Have a model that was loaded on demand stay for so long after its last call, None for as long as is usual; one that is always
        there does."""
        if self.on_demand is not None:
            self.on_demand.keep(model.name, seconds)

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model. Raises `UnknownName`."""
        return tuple(self._models[self.model(name).name])

    def condition(self, model: Model) -> Condition:
        """How the model is served. That it is stopped its route knows first; all else the controller tells."""
        if model.failure:
            return Condition("stopped", model.failure)
        told = self.recoveries.conditions.get(model.name) if self.recoveries is not None else None
        return told or Condition()

    async def infer(self, request: Request) -> Answer:
        """The whole answer. Raises a `SynfireError` that says who has to act."""
        if self.neighbours is not None and self.neighbours.keeps(request.session):
            return await self.neighbours.infer(request)
        model = await self.called(request.model, request.version)
        async with aclosing(self._parts(model, request)) as parts:
            gathered = [(call, part) async for call, part in parts]
        outputs = model.outlet.lay_out([part for _, part in gathered], request.outputs)
        steps = sum(part.steps for _, part in gathered)
        return Answer(model.name, model.version, gathered[0][0].id, outputs, 0, steps)

    async def stream(self, request: Request) -> AsyncGenerator[Answer, None]:
        """The answer as it comes, `part_steps` time steps at a time; the last has `last`. Raises as `infer` does.

        Closing the iterator early cancels the call.
        """
        if self.neighbours is not None and self.neighbours.keeps(request.session):
            async with aclosing(self.neighbours.stream(request)) as answers:
                async for answer in answers:
                    yield answer
            return
        model = await self.called(request.model, request.version)
        paced = msgspec.structs.replace(request, part_steps=request.part_steps or 1)
        async with aclosing(self._parts(model, paced)) as parts:
            async for call, part in parts:
                outputs = model.outlet.lay_out([part], request.outputs)
                yield Answer(model.name, model.version, call.id, outputs, part.first_step, part.steps, part.last)

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
            model.statistics.queue.add(began_s - arrived_s)
            model.statistics.compute.add(done_s - began_s)
            model.statistics.answered(done_s - arrived_s, batch, time.time())

    def _spoken(self, name: str) -> str:
        """The name that a model is served by, of those that it may be called."""
        return name if name in self._models else name.removesuffix(f":{LATEST}")

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
            model.statistics.failed(error, self._clock.now_s() - arrived_s)
        if self.on_demand is not None:
            self.on_demand.ended(model.name)
        self._active -= 1
        if not self._active:
            self._idle.set()

    def _check(self, model: Model, request: Request, arrived_s: float) -> tuple[Call, int]:
        if self.draining:
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
