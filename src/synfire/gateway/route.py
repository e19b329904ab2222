"""The way of a model's calls through its stages on workers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
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
        tries = Tries(self, call)
        while True:
            lane = await tries.lane()
            try:
                with await tries.attempt(lane) as attempt:
                    while (part := await attempt.next()) is not None:
                        tries.give(part)
                        yield part
                self._answered(lane)
                return
            except BaseException as error:
                await tries.failed(error)

    async def whole(self, call: Call) -> list[Part]:
        """All parts that `answer` yields, for who wants them together: a generator that hands over one part takes a tenth of a small call."""
        tries, found = Tries(self, call), []
        while True:
            lane = await tries.lane()
            try:
                with await tries.attempt(lane) as attempt:
                    while (part := await attempt.next()) is not None:
                        tries.give(part)
                        found.append(part)
                self._answered(lane)
                return found
            except BaseException as error:
                await tries.failed(error)

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
        lane = self._lane(await self._standing(), call, None)
        lane.check()
        try:
            with Attempt(self, lane, call if told is None else told.rest(), given) as attempt:
                while (part := await attempt.next()) is not None:
                    yield part
            self._answered(lane)
        except Interrupted as error:
            if error.unreachable is not None:
                self.on_unreachable(error.unreachable)
            raise

    def _answered(self, lane: Way) -> None:
        """A call was answered along this way."""
        if self.on_answered is not None:
            self.on_answered(lane.plan)

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
            with Attempt(self, way, again) as attempt:
                while await attempt.next() is not None:
                    pass
        self.restored += 1

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


class Tries:
    """What has become of a call so far: the ways that it was tried along, and what its caller was given.

    A protected route tries again what was interrupted, along the way that there is then.
    """

    __slots__ = ("_again", "_call", "_engines", "_given", "_route", "_told", "_track", "_way", "_ways")

    def __init__(self, route: WorkerRoute, call: Call) -> None:
        flat = route._flat
        kept = bool(call.session) and route.protected
        self._route = route
        self._call = call
        self._track = route.sessions.begin(call, samples(flat, call.inputs), route._clock.now_s()) if kept else None
        self._told = Told(flat, call) if flat.open_ended else None
        self._way = route._way
        self._engines = self._way.engines
        self._given = self._ways = self._again = 0

    async def lane(self) -> Way:
        """The way of the next try, once there is one. Raises where there will be none, or none that could go on with what was given."""
        route, call = self._route, self._call
        self._way = way = route._way if route.open else await route._standing()
        if self._given and way.engines != self._engines:
            raise Interrupted(
                f"call {call.id} was answered in part when model {call.model!r} moved to another device, which computes "
                "otherwise; ask again"
            )
        self._engines = way.engines
        return route._lane(way, call, self._track)

    async def attempt(self, lane: Way) -> Attempt:
        """The next try along its way, where the session, if there is one, has been brought back."""
        lane.check()
        if self._track is not None:
            await self._route._bring_back(lane, self._track, self._call)
        call = self._call if self._told is None else self._told.rest()
        return Attempt(self._route, lane, call, self._given if self._told is None else 0, self._track)

    def give(self, part: Part) -> None:
        """The caller is given a part."""
        self._given += 1
        if self._told is not None:
            self._told.add(part)

    async def failed(self, error: BaseException) -> None:
        """A try has come to nothing: returns when another one may be made. Raises what the caller is told where none shall be."""
        route, way, track = self._route, self._way, self._track
        if not isinstance(error, Interrupted):
            if track is not None:
                route.sessions.drop(track)
            raise error
        if error.unreachable is not None:
            route.on_unreachable(error.unreachable)
        if track is not None:
            track.lost()
        if not route.protected and way.closing:
            raise way.loss() from error
        if not route.protected or (self._call.session and track is None) or self._ways == _MOST_WAYS:
            raise error
        route.replays += 1
        route._interrupted += 1
        try:
            await route._another(way, min(_PAUSE_S * _SLOWER ** min(self._again, 50), _LONGEST_PAUSE_S))
        finally:
            route._interrupted -= 1
        if route._way is way:
            self._again += 1
        else:
            self._ways, self._again = self._ways + 1, 0


class Attempt:
    """One try of a call along one way, for a block: `next` gives its parts, but for those that the caller was `given` before. When it
    does not end well there, it is cancelled at every worker. Its session's `track` is told of the end.
    """

    __slots__ = (
        *("_answers", "_call", "_early", "_given", "_inbox", "_last", "_place", "_request", "_route", "_spans"),
        *("_token", "_track", "_way", "_work"),
    )

    def __init__(self, route: WorkerRoute, way: Way, call: Call, given: int = 0, track: Track | None = None) -> None:
        self._route = route
        self._way = way
        self._call = call
        self._given = given
        self._track = track
        self._request = f"{route._who}-{way.plan.model}-{next(route._ids)}"
        self._token = route.sessions.token(track, call, route._clock.now_s(), way.homes) if track else 0
        self._spans = way.frames.spans(call.inputs, call.part_steps)
        self._answers = way.frames.parts(self._spans)
        self._inbox = Inbox()
        self._early: dict[int, dict[str, Mapping[str, Array]]] = {}
        self._place = 0
        self._last = False
        self._work = work_of(route._flat, call.inputs) if way.lane else 0.0

    def __enter__(self) -> Attempt:
        route, way, deadline_s = self._route, self._way, self._call.deadline_s
        if deadline_s is not None:
            route._patience.begin(self, deadline_s - route._clock.now_s())
        if way.lane:
            way.lanes.take(way.plan, self._work)
        try:
            for peer in way.peers.values():
                peer.register(self._request, self._inbox)
            route._inboxes[self._inbox] = self._request
            for span in self._spans[: route.window]:
                self._send(span)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

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

    async def next(self) -> Part | None:
        """The next part; None after the last one. Whoever asks has taken those before: further frames may follow."""
        if self._route._flat.open_ended:
            return await self._next_open()
        frames = self._way.frames
        while self._place < len(self._answers):
            if self._place:
                self._advance(self._answers[self._place - 1].number + 1)
            span = self._answers[self._place]
            arrived = await self._arrived(span)
            self._place += 1
            if self._track is not None and span.last:
                self._track.epoch = self._way.epoch
                self._route.sessions.answered(self._track, self._call)
            if self._place > self._given:
                found = {name: array for each in arrived.values() for name, array in each.items()}
                return frames.part(span, self._call.inputs, found)
        return None

    def overdue(self) -> None:
        """The call was not answered in time."""
        call = self._call
        self._inbox.fail(
            DeadlineExceeded(
                f"call {call.id} of model {call.model!r} was not answered before its deadline; allow it more time"
            )
        )

    async def _next_open(self) -> Part | None:
        """The next part of an open-ended call: what its last stage sends, until that says that it was all."""
        if self._last:
            return None
        frame, arrays = await self._frame()
        self._last = frame.last
        span = Span(frame.number, frame.first_step, frame.steps, frame.last)
        return self._way.frames.part(span, self._call.inputs, arrays)

    async def _arrived(self, span: Span) -> Mapping[str, Mapping[str, Array]]:
        """What all stages have sent of a frame that is answered, by the stage."""
        arrived = self._early.setdefault(span.number, {})
        while not self._way.frames.complete(span, arrived):
            frame, arrays = await self._frame()
            self._early.setdefault(frame.number, {})[frame.sender] = arrays
        del self._early[span.number]
        return arrived

    async def _frame(self) -> tuple[Frame, Mapping[str, Array]]:
        """The next frame of this way's epoch: a worker that was cut off may not know yet that the route has changed."""
        while True:
            frame, arrays = await self._inbox.get()
            if frame.epoch == self._way.epoch:
                return frame, arrays
            self._route.fenced += 1

    def _advance(self, taken: int) -> None:
        """The caller has taken all parts before `taken`: let further frames follow."""
        window, way = self._route.window, self._way
        ahead = taken + window - 1
        if ahead < len(self._spans):
            self._send(self._spans[ahead])
        if len(self._spans) > window and taken % max(1, window // 2) == 0:
            for peer in way.peers.values():
                peer.send(Packet(Advance(self._request, taken)))

    def _send(self, span: Span) -> None:
        way, call = self._way, self._call
        for entry in way.frames.entries(span, call.inputs):
            frame = Frame(
                way.plan.model,
                GATEWAY,
                entry.stage,
                self._request,
                self._route._who,
                entry.span.number,
                entry.span.first_step,
                entry.span.steps,
                entry.span.last,
                call.session,
                call.start,
                call.end,
                way.epoch,
                pace=call.part_steps,
                token=self._token,
                lane=way.lane,
            )
            way.homes[entry.stage].send(Packet(frame, entry.arrays))
