"""The way of a model's calls through its stages on workers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import NamedTuple

import msgspec

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import DeadlineExceeded, Interrupted, OutOfReach, SynfireError
from synfire.gateway.call import Call, Part
from synfire.gateway.frames import Span
from synfire.gateway.inputs import samples, work_of
from synfire.gateway.open_ended import Told
from synfire.gateway.patience import Patience
from synfire.gateway.peer import Inbox, Peer
from synfire.gateway.protection import Protection, Track
from synfire.gateway.recut import Parts, recut
from synfire.gateway.way import Way
from synfire.graph import Graph, flatten
from synfire.ops import Array
from synfire.plan import Plan
from synfire.plan.plan import GATEWAY
from synfire.wire.messages import Advance, Cancel, Checkpoint, Forget, Frame, Restore
from synfire.wire.stream import Packet

WINDOW = 16
"""How many frames of one call may be under way. It keeps a pipeline of as many stages busy; memory grows with it."""

_MOST_WAYS = 100
"""Along how many ways a call is tried at most. Each follows a loss, so only a route that never heals comes so far. Along one way it
is tried until its deadline: whoever would lay another one may be away for a while."""

_PAUSE_S, _SLOWER, _LONGEST_PAUSE_S = 0.005, 1.1, 0.1
"""How long a call waits until it is tried again along the same way, by how much longer each time, and how long at most: a link that
broke once is there again at once, and of two that do not reach each other `Blame` has to hear more often than every 0.3 s."""


class Again(NamedTuple):
    """What goes on along another way: calls that were interrupted, and sessions, which are brought back before their next call."""

    calls: int = 0
    sessions: int = 0


class WorkerRoute:
    """Sends the inputs of calls to the workers of a plan, frame by frame, and gathers the outputs.

    `peers` are the connections to the workers, by name; `who` is this gateway. Made and used in one event loop.

    A `protected` route has somebody who replaces lost workers: a call that was interrupted then waits for `resume`, and is
    replayed from its beginning on the new way. Parts of the answer that were given already are not given again.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        peers: Mapping[str, Peer],
        who: str,
        clock: Clock | None = None,
        protected: bool = False,
        ids: Iterator[int] | None = None,
        epoch: int = 0,
    ) -> None:
        self.graph = graph
        self.window = WINDOW
        self.protected = protected
        self.replays = 0
        self.restored = 0
        self.fenced = 0
        self.on_unreachable: Callable[[OutOfReach], None] = lambda report: None
        self.on_answered: Callable[[Plan], None] | None = None
        self._interrupted = 0
        self._held = 0
        self._inboxes: dict[Inbox, str] = {}
        self._flat = flatten(graph)
        self._way = Way.along(self._flat, plan, peers, epoch)
        self.sessions = Protection(stage.name for stage in plan.stages)
        self._parts: Parts = {}
        self._suspended = False
        self._failure: SynfireError | None = None
        self._changed = asyncio.Event()
        self._who = who
        self._clock = clock or SystemClock()
        self._patience = Patience(clock=self._clock)
        self._ids = ids or itertools.count(1)

    @property
    def plan(self) -> Plan:
        """The plan that calls follow now."""
        return self._way.plan

    @property
    def epoch(self) -> int:
        return self._way.epoch

    @property
    def ready(self) -> bool:
        """Whether calls are answered: every worker of the plan is there and takes calls, or is being replaced."""
        peers = self._way.peers.values()
        whole = not self._way.broken or self.protected
        return self._failure is None and whole and not any(peer.draining for peer in peers)

    @property
    def open(self) -> bool:
        """Whether calls travel, and are neither held nor refused."""
        return not self._suspended and self._failure is None

    @property
    def broken(self) -> bool:
        """Whether a connection that calls need is gone: they wait for `resume`, also where the worker is there again."""
        return self._way.broken

    @property
    def failure(self) -> SynfireError | None:
        """Why calls are answered by an error, while they are."""
        final = self._way.closing and not self.protected
        return self._failure or (self._way.loss() if final else None)

    def suspend(self) -> None:
        """Interrupt the calls that are under way, and hold them and new ones until `resume` or `fail`.

        The workers need not wait for them, which one that is to leave would do, for as long as a caller takes to read.
        """
        self._suspended = True
        self._held = len(self._inboxes) + self._interrupted
        for inbox, request in self._inboxes.items():
            inbox.fail(Interrupted(f"the operators of model {self.plan.model!r} are being moved; try again"))
            for peer in self._way.peers.values():
                peer.release(request)

    def resume(self, plan: Plan, peers: Mapping[str, Peer], epoch: int) -> Again:
        """Send calls along another way. Those count that were interrupted by `suspend`, or before, and are replayed on it."""
        before, self._way = self._way, Way.along(self._flat, plan, peers, epoch)
        self._failure = None
        sessions = self.sessions.lose(stage.name for stage in plan.stages)
        self.sessions.forsake(before.unlike(self._way))
        self._let_go()
        return Again(self._held, sessions)

    def fail(self, error: SynfireError) -> None:
        """Answer held and new calls by `error`, until `resume`."""
        self._failure = error
        self._let_go()

    def keep(self, message: Checkpoint, state: Mapping[str, Array]) -> None:
        """A stage has sent the state of a session."""
        self.sessions.receive(message, state, self._clock.now_s())

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Yield the call's parts in order; see `synfire.gateway.call.Route`."""
        protected = bool(call.session) and self.protected
        track = self.sessions.begin(call, samples(self._flat, call.inputs), self._clock.now_s()) if protected else None
        given, ways, tries, engines = 0, 0, 0, self._way.engines
        told = Told(self._flat, call) if self._flat.open_ended else None
        while True:
            way = await self._standing()
            if given and way.engines != engines:
                raise Interrupted(
                    f"call {call.id} was answered in part when model {call.model!r} moved to another device, which computes "
                    "otherwise; ask again"
                )
            engines = way.engines
            lane = self._lane(way, call, track)
            try:
                lane.check()
                await self._bring_back(lane, track, call)
                attempt = self._attempt(lane, call, given, track) if told is None else self._open(lane, told.rest())
                async with aclosing(attempt) as parts:
                    async for part in parts:
                        given += 1
                        if told is not None:
                            told.add(part)
                        yield part
                if self.on_answered is not None:
                    self.on_answered(lane.plan)
                return
            except Interrupted as error:
                if error.unreachable is not None:
                    self.on_unreachable(error.unreachable)
                if track is not None:
                    track.lost()
                if not self.protected and way.closing:
                    raise way.loss() from error
                if not self.protected or (call.session and track is None) or ways == _MOST_WAYS:
                    raise
            except BaseException:
                if track is not None:
                    self.sessions.drop(track)
                raise
            self.replays += 1
            self._interrupted += 1
            try:
                await self._another(way, min(_PAUSE_S * _SLOWER ** min(tries, 50), _LONGEST_PAUSE_S))
            finally:
                self._interrupted -= 1
            ways, tries = (ways, tries + 1) if self._way is way else (ways + 1, 0)

    @property
    def standing(self) -> bool:
        """Whether a call would be answered now, without waiting for anybody to be replaced."""
        return self.open and not self._way.closing

    @property
    def engines(self) -> Mapping[str, str]:
        """The engine of each operator along the present way."""
        return self._way.engines

    async def once(self, call: Call, given: int = 0, told: Told | None = None) -> AsyncGenerator[Part, None]:
        """One try along the present way: the parts but for the first `given`, or, of an open-ended call, what the caller was not `told`.

        Raises `Interrupted` when it comes to nothing, also where somebody will mend that: whoever has another route goes there.
        """
        way = self._lane(await self._standing(), call, None)
        way.check()
        attempt = self._attempt(way, call, given, None) if told is None else self._open(way, told.rest())
        try:
            async with aclosing(attempt) as parts:
                async for part in parts:
                    yield part
            if self.on_answered is not None:
                self.on_answered(way.plan)
        except Interrupted as error:
            if error.unreachable is not None:
                self.on_unreachable(error.unreachable)
            raise

    def _lane(self, way: Way, call: Call, track: Track | None) -> Way:
        """The way through one replica of each stage that has several. A session keeps to those that it has, as long as they are there."""
        if call.session and track is None:
            return way.through(way.lanes.following(call.session))
        lane = way.through(way.lanes.choose(track.replicas if track else {}, way.able))
        if track is not None:
            track.replicas = lane.replicas  # also of stages that have only one now: there may be more again
        return lane

    async def _bring_back(self, way: Way, track: Track | None, call: Call) -> None:
        """Give the workers the session's state as it was before `call`: its last checkpoint, and the calls since."""
        if track is None or call.start or track.epoch == way.epoch:
            return
        track.check(call)
        if track.states and track.states.keys() != way.homes.keys():
            track.states = await asyncio.to_thread(recut, self._flat, way.plan, track.states, self._parts)
        for stage, saved in track.states.items():
            restore = Restore(
                way.plan.model, stage, track.name, track.batch, maker=saved.maker, checksum=saved.checksum
            )
            await way.homes[stage].restore(restore, saved.state)
        for past in track.calls:
            again = msgspec.structs.replace(past, deadline_s=call.deadline_s)
            async with aclosing(self._attempt(way, again, 0, None)) as parts:
                async for _ in parts:
                    pass
        self.restored += 1

    async def _attempt(self, way: Way, call: Call, given: int, track: Track | None) -> AsyncGenerator[Part, None]:
        """The parts of the call but for the first `given`, along one way. Its session's `track` is told of the end."""
        request = f"{self._who}-{way.plan.model}-{next(self._ids)}"
        token = self.sessions.token(track, call, self._clock.now_s(), way.homes) if track else 0
        spans = way.frames.spans(call.inputs, call.part_steps)
        with Underway(self, way, request, call) as inbox:
            for span in spans[: self.window]:
                self._send(way, request, call, span, token)
            early: dict[int, dict[str, Mapping[str, Array]]] = {}
            for place, span in enumerate(way.frames.parts(spans)):
                arrived = early.setdefault(span.number, {})
                while not way.frames.complete(span, arrived):
                    frame, arrays = await inbox.get()
                    if frame.epoch != way.epoch:
                        self.fenced += 1  # a worker that was cut off and does not know that the route has changed
                        continue
                    early.setdefault(frame.number, {})[frame.sender] = arrays
                del early[span.number]
                if track is not None and span.last:
                    track.epoch = way.epoch
                    self.sessions.answered(track, call)
                if place >= given:
                    found = {name: array for each in arrived.values() for name, array in each.items()}
                    yield way.frames.part(span, call.inputs, found)
                if not span.last:
                    self._advance(way, request, call, spans, span.number + 1, token)

    async def _open(self, way: Way, call: Call) -> AsyncGenerator[Part, None]:
        """The parts of an open-ended call along one way: what its last stage sends, until that says that it was all."""
        request = f"{self._who}-{way.plan.model}-{next(self._ids)}"
        (span,) = way.frames.spans(call.inputs)
        with Underway(self, way, request, call) as inbox:
            self._send(way, request, call, span, 0)
            last = False
            while not last:
                frame, arrays = await inbox.get()
                if frame.epoch != way.epoch:
                    self.fenced += 1
                    continue
                last = frame.last
                part = Span(frame.number, frame.first_step, frame.steps, last)
                yield way.frames.part(part, call.inputs, arrays)

    async def _standing(self) -> Way:
        """The way for the next attempt, once there is one. Raises when it was given up."""
        while self._suspended:
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
        return self._way

    async def _another(self, way: Way, pause_s: float) -> None:
        """Wait until an attempt may succeed that did not along `way`; that same one is tried again after a pause."""
        while self._way is way and self._failure is None:
            if not way.closing and not self._suspended:
                await asyncio.sleep(pause_s)  # a link between two workers that live: the next attempt makes a new one
                return
            await self._changed.wait()

    def _let_go(self) -> None:
        self._suspended = False
        self._changed.set()
        self._changed = asyncio.Event()

    def _abandon(self, way: Way, request: str, call: Call) -> None:
        for peer in way.peers.values():
            with contextlib.suppress(SynfireError):  # a worker that is gone has forgotten the request already
                peer.send(Packet(Cancel(request)))
                if call.session:
                    peer.send(Packet(Forget(way.plan.model, call.session)))

    def _advance(self, way: Way, request: str, call: Call, spans: list[Span], taken: int, token: int) -> None:
        """The caller has taken all parts before `taken`: let further frames follow."""
        ahead = taken + self.window - 1
        if ahead < len(spans):
            self._send(way, request, call, spans[ahead], token)
        if len(spans) > self.window and taken % max(1, self.window // 2) == 0:
            for peer in way.peers.values():
                peer.send(Packet(Advance(request, taken)))

    def _send(self, way: Way, request: str, call: Call, span: Span, token: int) -> None:
        for entry in way.frames.entries(span, call.inputs):
            frame = Frame(
                way.plan.model,
                GATEWAY,
                entry.stage,
                request,
                self._who,
                entry.span.number,
                entry.span.first_step,
                entry.span.steps,
                entry.span.last,
                call.session,
                call.start,
                call.end,
                way.epoch,
                pace=call.part_steps,
                token=token,
                lane=way.lane,
            )
            way.homes[entry.stage].send(Packet(frame, entry.arrays))


class Underway:
    """Waits for answers in an inbox, for a block. When the call does not end well there, it is cancelled at every worker."""

    __slots__ = ("_call", "_inbox", "_request", "_route", "_way", "_work")

    def __init__(self, route: WorkerRoute, way: Way, request: str, call: Call) -> None:
        self._route = route
        self._way = way
        self._request = request
        self._call = call
        self._inbox = Inbox()
        self._work = work_of(route._flat, call.inputs) if way.lane else 0.0

    def __enter__(self) -> Inbox:
        route, way, deadline_s = self._route, self._way, self._call.deadline_s
        if deadline_s is not None:
            route._patience.begin(self, deadline_s - route._clock.now_s())
        if way.lane:
            way.lanes.take(way.plan, self._work)
        try:
            for peer in way.peers.values():
                peer.register(self._request, self._inbox)
            route._inboxes[self._inbox] = self._request
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self._inbox

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        route, way = self._route, self._way
        try:
            if error is not None:
                route._abandon(way, self._request, self._call)
        finally:
            route._patience.end(self)
            if way.lane:
                way.lanes.give_back(way.plan, self._work)
            route._inboxes.pop(self._inbox, None)
            for peer in way.peers.values():
                peer.release(self._request)

    def overdue(self) -> None:
        """The call was not answered in time."""
        call = self._call
        self._inbox.fail(
            DeadlineExceeded(
                f"call {call.id} of model {call.model!r} was not answered before its deadline; allow it more time"
            )
        )
