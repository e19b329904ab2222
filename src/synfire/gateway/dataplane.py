"""One data plane behind every protocol: admits, orders, times and counts calls, and lays them out for routes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
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
from synfire.gateway.patience import Patience
from synfire.gateway.recoveries import Recoveries
from synfire.gateway.request import Answer, Request
from synfire.gateway.sessions import Session
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
        self.patience = Patience(clock=self._clock)
        """Waits for the deadlines of calls, and for what else takes long here."""

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
        plain = self.plain(request.model, request.version) if request.side is None else None
        model = plain or await self._asked(request)
        async with _Accepted(self, model, request) as accepted:
            parts = await accepted.all()
        outputs = model.outlet.lay_out(parts, request.outputs)
        answer = Answer(model.name, model.version, accepted.call.id, outputs, 0, sum([part.steps for part in parts]))
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
        async with _Accepted(self, model, paced) as accepted:
            async for part in accepted:
                outputs = model.outlet.lay_out([part], request.outputs)
                name = accepted.call.id
                answer = Answer(model.name, model.version, name, outputs, part.first_step, part.steps, part.last)
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
        within_s, began_s = self._timeout_s(request, self.limits.timeout_s), self._clock.now_s()
        await self.coming.wait(name, within_s)
        if request.timeout_s is None:
            return request
        left_s = within_s - (self._clock.now_s() - began_s)
        return msgspec.structs.replace(request, timeout_s=max(left_s, SOON_S))

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
        deadline_s = arrived_s + self._timeout_s(request, model.longest_s)
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

    def _timeout_s(self, request: Request, most_s: float) -> float:
        if request.timeout_s is None:
            return most_s
        if not request.timeout_s > 0:
            raise UserError(f"the timeout is {request.timeout_s} s; it must be above 0, or left out")
        return min(request.timeout_s, most_s)

    def _deadline(self, call: Call) -> Deadline:
        return Deadline(call.id, (call.deadline_s or 0.0) - self._clock.now_s(), call.model, self.patience)


class _Accepted:
    """A call for a block, from its arrival until its end: counted, checked, in its session's turn, with a place among those that run. Its
    parts come one by one, or `all` together, within the deadline.

    One class for all of that: a context for each of these, and a generator around them, would cost a call as much as a small model does.
    """

    __slots__ = (
        "_arrived_s",
        "_batch",
        "_began_s",
        "_deadline",
        "_entered",
        "_last",
        "_model",
        "_parts",
        "_plane",
        "_request",
        "_running",
        "_turn",
        "call",
    )

    def __init__(self, plane: DataPlane, model: Model, request: Request) -> None:
        self._plane = plane
        self._model = model
        self._request = request
        self._turn: AbstractAsyncContextManager[Session] | None = None
        self._parts: AsyncIterator[Part] | None = None
        self._entered = self._running = self._last = False

    async def __aenter__(self) -> _Accepted:
        plane, model = self._plane, self._model
        self._arrived_s = plane._arrive(model)
        try:
            self.call, self._batch = plane._check(model, self._request, self._arrived_s)
            model.gate.enter()
            self._deadline = plane._deadline(self.call)
            self._entered = True
            session = await self._in_turn() if self.call.session else None
            if model.gate.full:
                await model.gate.wait(self._deadline)
            else:
                model.gate.take()
            self._running = True
            if session is not None:
                session.whole = False
            self._began_s = plane._clock.now_s()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = error
        try:
            if isinstance(self._parts, AsyncGenerator):
                await self._parts.aclose()
        except BaseException as raised:
            ended = raised
            raise
        finally:
            if self._running:
                self._model.gate.give_back()
            try:
                if self._turn is not None:
                    await self._turn.__aexit__(None if ended is None else type(ended), ended, None)
            except BaseException as raised:
                ended = raised
                raise
            finally:
                self._end(ended)

    async def all(self) -> list[Part]:
        """All parts."""
        try:
            with self._deadline(_COMPUTED):
                found = [self._following(part) for part in await self._whole()]
        except DeadlineExceeded as error:
            raise self._plane._late(self._model, error) from error.__cause__
        self._finish()
        return found

    def __aiter__(self) -> _Accepted:
        self._parts = self._model.route.answer(self.call)
        return self

    async def __anext__(self) -> Part:
        try:
            with self._deadline(_COMPUTED):
                part = await anext(self._parts, None) if self._parts is not None else None
        except DeadlineExceeded as error:
            raise self._plane._late(self._model, error) from error.__cause__
        if part is None:
            self._finish()
            raise StopAsyncIteration
        return self._following(part)

    async def _in_turn(self) -> Session:
        call = self.call
        turn = self._model.sessions.turn(call.session, call.start, call.end, self._batch, self._deadline)
        session = await turn.__aenter__()
        self._turn = turn
        return session

    async def _whole(self) -> list[Part]:
        whole, call = self._model.whole, self.call
        return [part async for part in self._model.route.answer(call)] if whole is None else await whole(call)

    def _following(self, part: Part) -> Part:
        """The part, which is none after the last one."""
        if self._last:
            raise self._unended()
        self._last = part.last
        return part

    def _finish(self) -> None:
        """The route gives no further part."""
        self._parts = None
        if not self._last:
            raise self._unended()

    def _unended(self) -> Bug:
        return Bug(f"the route of model {self._model.name!r} did not end request {self.call.id} with a last part")

    def _end(self, error: BaseException | None) -> None:
        """The call has ended, by an answer or by an error; what is counted goes by that."""
        if self._entered:
            self._deadline.close()
            self._model.gate.leave()
        if error is None:
            done_s = self._plane._clock.now_s()
            for counted in self._model.counted:
                counted.answered(self._began_s - self._arrived_s, done_s - self._began_s, self._batch, time.time())
        self._plane._leave(self._model, self._arrived_s, error)


_COMPUTED = "while it was computed"
