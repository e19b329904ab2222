"""One data plane behind every protocol: admits, orders, times and counts calls, and lays them out for routes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, closing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Protocol

import msgspec

from synfire.base.clock import Clock
from synfire.base.errors import Bug, DeadlineExceeded, SynfireError, TemporaryError, UnknownName, UserError
from synfire.base.keys import Keys
from synfire.base.log import LOGGER
from synfire.gateway.call import Call, Part
from synfire.gateway.deadline import Deadline
from synfire.gateway.directory import Directory
from synfire.gateway.inputs import samples
from synfire.gateway.limits import Limits
from synfire.gateway.model import Model
from synfire.gateway.neighbours import Neighbours
from synfire.gateway.recoveries import Recoveries
from synfire.gateway.request import Answer, Request
from synfire.gateway.shadows import Given, Shadows
from synfire.store.names import parted
from synfire.wire.chain import ChainState
from synfire.wire.condition import Condition
from synfire.wire.messages import Description
from synfire.wire.traffic import Rule
from synfire.wire.wish import Wish

SOON_S = 0.001
"""The least time that a call has left that was held."""

DESCRIBE_S = 2.0
"""How long a worker may take to describe itself, which it does between two jobs."""


class Repository(Protocol):
    """Changes what is served, and by which rules, at every gateway; returns when that is done. Raises what stands against it."""

    async def load(self, model: str) -> None: ...
    async def unload(self, model: str) -> None: ...
    async def steer(self, rule: Rule) -> None: ...
    async def want(self, model: str, wish: Wish | None) -> bool: ...
    async def chain(self, chain: str, content: bytes) -> bool: ...
    async def move(self, kind: str, worker: str = "") -> bytes: ...


class DataPlane(Directory):
    """The served models, and the answers to requests through their routes.

    Made and used in one event loop. `clock` dates deadlines and sessions; `keys` are asked for by every protocol, and
    come from the environment where none are given.
    """

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None, keys: Keys | None = None) -> None:
        super().__init__(limits, clock)
        self.keys = Keys.from_environment() if keys is None else keys
        self.shadows = Shadows(self, self.traffic)
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

        self.asked_chains: dict[str, ChainState] = {}
        """Chains that were asked for by HTTP, by name, as the controller has told them."""

        self.neighbours: Neighbours | None = None
        """The other gateways of the deployment, where there are any: they keep some of the sessions."""

        self.recoveries: Recoveries | None = None
        """What is known of failures; the deployment sets it, where it heals itself."""

    @property
    def ready(self) -> bool:
        """Whether calls are accepted, and every model's route can answer them."""
        return not self.draining and all(model.ready for model in self.models)

    def condition(self, model: Model) -> Condition:
        """How the model is served. That it is stopped its route knows first; all else the controller tells."""
        if model.failure:
            return Condition("stopped", model.failure)
        if self.recoveries is None:
            return Condition()
        if model.calls:
            return self._condition_of(model.calls)
        key = (model.name, model.version)
        told = [each for name, each in self.recoveries.conditions.items() if parted(name, model.version) == key]
        return next((each for each in told if each.reason), Condition())

    def _condition_of(self, called: Iterable[str]) -> Condition:
        """How a chain is served that calls these models: it waits for workers where one of them does."""
        for name in called:
            with suppress(UnknownName, TemporaryError):
                condition = self.condition(self.model(name))
                if condition.joining:
                    reason = f"model {name!r}, which a step of it calls: {condition.reason}"
                    return msgspec.structs.replace(condition, reason=reason)
        return Condition()

    async def infer(self, request: Request) -> Answer:
        """The whole answer. Raises a `SynfireError` that says who has to act."""
        elsewhere = self._elsewhere(request)
        if elsewhere is not None:
            return await elsewhere.infer(request)
        if self.coming:
            request = await self._held(request)
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
        if self.coming:
            request = await self._held(request)
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
        self.coming.close()
        await self._idle.wait()

    def _elsewhere(self, request: Request) -> Neighbours | None:
        """The other gateways, where one of them keeps the request's session. Steps of chains and copies for shadows stay here."""
        if self.neighbours is None or request.within or request.side:
            return None
        return self.neighbours if self.neighbours.keeps(request.session) else None

    async def _held(self, request: Request) -> Request:
        """The request, once its name is not awaited any more, with what it has left of its time then. Raises as `Coming.wait` does."""
        name = self._spoken(request.model)
        if name not in self.coming:
            return request
        within_s, began_s = self._timeout_s(request, False), self._clock.now_s()
        await self.coming.wait(name, within_s)
        if request.timeout_s is None:
            return request
        left_s = within_s - (self._clock.now_s() - began_s)
        return msgspec.structs.replace(request, timeout_s=max(left_s, SOON_S))

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
                    async with aclosing(_Within(deadline, self, model, call)) as parts:
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

    def _late(self, model: Model, error: DeadlineExceeded) -> SynfireError:
        """What a call that took too long is told: where the model waits for workers, what is missing."""
        condition = self.condition(model)
        if not condition.joining:
            return error
        told = f"model {model.name!r} takes no calls yet: {condition.reason}; this one was held until its deadline"
        return TemporaryError(told, self.limits.retry_after_s)

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

    __slots__ = ("_call", "_deadline", "_last", "_model", "_parts", "_plane")

    def __init__(self, deadline: Deadline, plane: DataPlane, model: Model, call: Call) -> None:
        self._deadline = deadline
        self._plane = plane
        self._model = model
        self._call = call
        self._parts = model.route.answer(call)
        self._last = False

    def __aiter__(self) -> _Within:
        return self

    async def __anext__(self) -> Part:
        try:
            with self._deadline("while it was computed"):
                part = await anext(self._parts, None)
        except DeadlineExceeded as error:
            raise self._plane._late(self._model, error) from error.__cause__
        if part is None and self._last:
            raise StopAsyncIteration
        if part is None or self._last:
            raise Bug(f"the route of model {self._model.name!r} did not end request {self._call.id} with a last part")
        self._last = part.last
        return part

    async def aclose(self) -> None:
        if isinstance(self._parts, AsyncGenerator):
            await self._parts.aclose()
