"""The scheduling of a worker, without I/O, threads or a clock: frames go in, jobs are taken and finished, frames come out.

**Order.** Of all blocks that can be computed, the one of the request that arrived first goes first, and within a request
the one furthest downstream. So a request runs depth-first through the stages that live here, its frames leave for other
workers as early as they can, and nobody starves. Others that wait at the chosen stage with as many steps go along.

**Bounds.** An origin, and a stage that makes its own time steps, may be at most `window` frames ahead of the answer that
the gateway has taken (`Advance`). So at most requests · window frames wait anywhere, and every inbox has room for all of
them: no sender ever waits for a receiver, hence no circle of waiting, however a graph crosses its workers. Progress by
induction: the oldest unanswered frame's inputs are older frames, or the same at stages before.

**State** belongs to a visit, one request at one stage. It is dropped with the last frame, kept in the session's slot when
there is a session, and dropped everywhere when a request fails or is cancelled.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synfire.base.errors import (
    Bug,
    Interrupted,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    UnknownName,
    UserError,
)
from synfire.engines import Program
from synfire.graph import Graph
from synfire.ops import Array, State
from synfire.plan.plan import GATEWAY
from synfire.wire.messages import (
    Checkpoint,
    Departure,
    Frame,
    Host,
    LinkCount,
    Relink,
    Restore,
    StageCount,
    failure_of,
)
from synfire.wire.stream import Packet, array_bytes
from synfire.worker.job import Job, Outcome
from synfire.worker.settings import Settings
from synfire.worker.stage import Block, LinkTally, LiveRequest, SessionSlot, Stage, Visit

_REMEMBERED = 8192


@dataclass(frozen=True)
class Outgoing:
    """A packet to send: to the worker at `address`, or, where that is empty, to the gateway `origin`."""

    packet: Packet
    origin: str = ""
    address: str = ""
    tally: LinkTally | None = None


class Core:
    """All stages and requests of one worker. Deterministic: the same calls in the same order give the same results."""

    def __init__(self, who: str, settings: Settings | None = None) -> None:
        self.who = who
        self.settings = settings or Settings()
        self.outbox: deque[Outgoing] = deque()
        self.stages: dict[tuple[str, str], Stage] = {}
        self.requests: dict[str, LiveRequest] = {}
        self.buffered_bytes = 0
        self.wake_s = math.inf
        self._turns = itertools.count()
        self._depths = itertools.count()
        self._heap: list[tuple[int, int, int, Visit]] = []
        self._entries = itertools.count()
        self._gone: OrderedDict[str, None] = OrderedDict()

    @property
    def idle(self) -> bool:
        """Whether no request is here."""
        return not self.requests

    @property
    def has_work(self) -> bool:
        """Whether a job may be ready; `next_job` knows."""
        return bool(self._heap)

    def host(self, host: Host, graph: Graph, program: Program | None) -> Stage:
        """Take up a stage. Stages of a model are hosted in topological order.

        Raises `UserError` for links that do not fit the graph, `PermanentError` when its parameters do not fit.
        """
        stage = Stage(host, graph, program, next(self._depths))
        held = sum(each.parameter_bytes for key, each in self.stages.items() if key != stage.key)
        if held + stage.parameter_bytes > self.settings.parameter_bytes:
            raise PermanentError(
                f"worker {self.who} has no room for stage {stage.name}: its parameters take {stage.parameter_bytes} bytes, "
                f"{held} of {self.settings.parameter_bytes} are taken; place it elsewhere, or raise parameter_bytes"
            )
        old = self.stages.get(stage.key)
        if old is not None:
            self._fail_all(self._visitors(old), Interrupted(f"stage {stage.name} was replaced; try again"))
        self.stages[stage.key] = stage
        return stage

    def unhost(self, model: str) -> None:
        """Drop the model's stages; what is in flight there fails."""
        for key in [key for key in self.stages if key[0] == model]:
            stage = self.stages.pop(key)
            self._fail_all(self._visitors(stage), TemporaryError(f"model {model!r} is being unloaded; try again later"))

    def relink(self, relink: Relink) -> None:
        """Take stages into a new epoch, with new links out of them; requests of older epochs there are forgotten.

        Raises `UnknownName` for a stage that is not here, and `TemporaryError` for an epoch that is over; nothing is
        changed then.
        """
        stages = [(self._stage(relink.model, name), departures) for name, departures in relink.stages]
        for stage, _ in stages:
            if relink.epoch < stage.host.epoch:
                raise TemporaryError(
                    f"stage {stage.name} is in epoch {stage.host.epoch}; a route of epoch {relink.epoch} is over"
                )
        for stage, departures in stages:
            stage.relink(relink.epoch, departures)
            for live in self._visitors(stage):
                if live.visits[stage.key].first.epoch < relink.epoch:
                    self.cancel(live.id)

    def receive(self, packet: Packet, now_s: float, local: bool = False) -> None:
        """Take in a frame. Whatever is wrong with it fails its request, and no other."""
        frame = packet.message
        if not isinstance(frame, Frame):
            raise Bug(f"the core takes frames, not {type(frame).__name__}")
        if frame.request in self._gone:
            return  # nobody waits for it: it was cancelled, or failed here before
        try:
            if packet.fault is not None:
                raise packet.fault
            visit = self._visit(frame, now_s, external=not local)
            if frame.number < visit.expected[frame.sender]:
                return  # a repetition
            if not local:
                self._check(visit, frame, packet.arrays)
            self._put(visit, frame, packet.arrays)
            self._queue(visit)
        except SynfireError as error:
            self.fail(frame.request, frame.origin, error)

    def advance(self, request: str, number: int) -> None:
        """The origin has taken every output before frame `number`."""
        live = self.requests.get(request)
        if live is not None:
            live.advanced = max(live.advanced, number)
            for visit in live.visits.values():
                self._queue(visit)

    def cancel(self, request: str) -> None:
        """Forget the request, and refuse in silence what still comes for it."""
        self._remember(request)
        live = self.requests.pop(request, None)
        for visit in list(live.visits.values()) if live else ():
            self._leave(visit, broken=True)

    def fail(self, request: str, origin: str, error: SynfireError) -> None:
        """Answer the request by an error, and forget it."""
        self.cancel(request)
        self.outbox.append(Outgoing(Packet(failure_of(request, error)), origin))

    def forget(self, model: str, session: str) -> None:
        """Drop the session's state at every stage of the model."""
        for stage in self.stages.values():
            slot = stage.sessions.get(session) if stage.host.model == model else None
            if slot is not None:
                slot.state = None
                if not slot.queue:
                    del stage.sessions[session]

    def restore(self, message: Restore, state: State, now_s: float) -> None:
        """Let the session go on from `state` at a stage. Raises `UnknownName`, and `Interrupted` while a call of it is here."""
        stage = self._stage(message.model, message.stage)
        slot = stage.sessions.get(message.session)
        if slot is not None and slot.queue:
            raise Interrupted(
                f"session {message.session!r} at stage {stage.name} is in use and cannot be restored; try again"
            )
        stage.sessions[message.session] = SessionSlot(state=state, batch=message.batch, used_s=now_s)

    def lost_origin(self, origin: str) -> None:
        """The gateway `origin` is gone: nobody waits for its requests."""
        for live in [each for each in self.requests.values() if each.origin == origin]:
            self.cancel(live.id)

    def lost_address(self, address: str, error: SynfireError) -> None:
        """The link to the worker at `address` broke: requests here that have still to cross it fail."""
        self._fail_all(
            [
                live
                for live in self.requests.values()
                if any(
                    each.address == address
                    for visit in live.visits.values()
                    if not visit.first.alone
                    for each in visit.stage.host.departures
                )
            ],
            error,
        )

    def lost_senders(self, keys: Iterable[tuple[str, str]], error: SynfireError) -> None:
        """The worker that hosts the stages `keys` (model, stage) is gone: requests that await frames from it fail."""
        gone = set(keys)
        self._fail_all([each for each in self.requests.values() if _awaits(each, gone)], error)

    def expire(self, now_s: float) -> None:
        """Forget sessions that nobody used, and fail requests that do not move, for too long."""
        for stage in self.stages.values():
            oldest_s = now_s - self.settings.session_idle_s
            for name in [n for n, slot in stage.sessions.items() if not slot.queue and slot.used_s < oldest_s]:
                del stage.sessions[name]
        oldest_s = now_s - self.settings.request_idle_s
        stuck = [live for live in self.requests.values() if live.used_s < oldest_s]
        self._fail_all(stuck, TemporaryError(f"worker {self.who} waited {self.settings.request_idle_s} s for frames"))

    def next_job(self, now_s: float) -> Job | None:
        """The blocks to compute now, or None; then look again at `wake_s`, or when something has arrived."""
        self.wake_s = math.inf
        early = []
        job = None
        while self._heap and job is None:
            entry = heapq.heappop(self._heap)
            visit = entry[-1]
            if visit not in visit.stage.ready:
                continue
            if self._waits_for_company(visit, now_s):
                early.append(entry)
            else:
                job = self._job(visit)
        for entry in early:
            heapq.heappush(self._heap, entry)
        return job

    def finish(self, job: Job, outcomes: Iterable[Outcome], busy_s: float, now_s: float) -> None:
        """Take back a job: states are kept, outputs go on, errors are answered."""
        tally = job.stage.tally
        tally.jobs += 1
        tally.busy_s += busy_s
        for visit, block, outcome in zip(job.visits, job.blocks, outcomes, strict=True):
            visit.busy = False
            tally.samples += visit.batch
            tally.steps += visit.batch * block.steps
            if visit.dead:
                continue
            if outcome.error is not None:
                tally.failures += 1
                self.fail(visit.request.id, visit.request.origin, _in_stage(outcome.error, job.stage))
                continue
            visit.state = outcome.state
            visit.number += 1
            visit.request.used_s = now_s
            if block.last:
                self._leave(visit)
                self._keep(visit)
            else:
                self._queue(visit)
            try:
                self._emit(visit, block, outcome.outputs, now_s)
            except Exception as error:  # an engine that does not give what it promised
                self.fail(visit.request.id, visit.request.origin, _in_stage(error, job.stage))
            if not visit.request.visits:
                self.requests.pop(visit.request.id, None)

    def describe(self) -> tuple[StageCount, ...]:
        """What every stage did so far."""
        return tuple(_count(stage) for stage in self.stages.values())

    @property
    def sessions(self) -> int:
        """Sessions whose state is kept, over all stages."""
        return sum(len(stage.sessions) for stage in self.stages.values())

    def _visit(self, frame: Frame, now_s: float, external: bool) -> Visit:
        live = self.requests.get(frame.request)
        key = (frame.model, frame.receiver)
        visit = live.visits.get(key) if live else None
        if visit is None:
            visit = self._open(live, self._stage_for(frame), frame, now_s, external)
        if frame.sender not in visit.expected:
            raise UserError(f"stage {visit.stage.name} has no link from {frame.sender!r}; check the plan")
        visit.request.used_s = now_s
        return visit

    def _stage(self, model: str, name: str) -> Stage:
        stage = self.stages.get((model, name))
        if stage is None:
            names = sorted(each.name for each in self.stages.values())
            raise UnknownName.among(f"stage on worker {self.who}", f"{model}.{name}", names)
        return stage

    def _stage_for(self, frame: Frame) -> Stage:
        stage = self._stage(frame.model, frame.receiver)
        if frame.epoch != stage.host.epoch and not frame.alone:
            raise Interrupted(
                f"a frame of epoch {frame.epoch} reached stage {stage.name}, which is in epoch {stage.host.epoch}: the "
                "route has changed; try again"
            )
        if frame.number:
            raise Interrupted(
                f"frame {frame.number} of request {frame.request} reached stage {stage.name}, but the ones before it did "
                "not; try again"
            )
        return stage

    def _open(self, live: LiveRequest | None, stage: Stage, frame: Frame, now_s: float, external: bool) -> Visit:
        if live is None:
            if len(self.requests) >= self.settings.max_requests:
                raise Overloaded(
                    f"worker {self.who} holds {len(self.requests)} requests, the limit max_requests="
                    f"{self.settings.max_requests}; try again"
                )
            live = LiveRequest(frame.request, frame.origin, next(self._turns), now_s)
        if frame.alone:
            timed = (GATEWAY,) if any(signal.timed for signal in stage.inputs.values()) else ()
            visit = Visit(live, stage, frame, now_s, (GATEWAY,), timed, external)
        else:
            visit = Visit(live, stage, frame, now_s, stage.senders, stage.timed_senders, external)
        if frame.session:
            self._join_session(stage, visit)
        self.requests[live.id] = live
        live.visits[stage.key] = visit
        return visit

    def _join_session(self, stage: Stage, visit: Visit) -> None:
        name = visit.first.session
        if name not in stage.sessions:
            if len(stage.sessions) >= self.settings.max_sessions:
                raise Overloaded(
                    f"stage {stage.name} keeps {len(stage.sessions)} sessions, the limit max_sessions="
                    f"{self.settings.max_sessions}; end some"
                )
            stage.sessions[name] = SessionSlot()
        stage.sessions[name].queue.append(visit)

    def _check(self, visit: Visit, frame: Frame, arrays: Mapping[str, Array]) -> None:
        """Raise `UserError` unless the frame fits the link that it came by."""
        stage, expected = visit.stage, visit.expected[frame.sender]
        where = f"frame {frame.number} of request {frame.request} from {frame.sender!r} to stage {stage.name}"
        if frame.number > expected:
            raise Interrupted(f"{where}: frame {expected} was lost; try again")
        if len(visit.inbox[frame.sender]) > 2 * stage.host.window:
            raise UserError(f"{where}: {len(visit.inbox[frame.sender])} frames wait, the window is {stage.host.window}")
        if self.buffered_bytes + array_bytes(arrays.values()) > self.settings.inbox_bytes:
            raise Overloaded(
                f"{where}: {self.buffered_bytes} bytes wait at worker {self.who}, the limit is inbox_bytes="
                f"{self.settings.inbox_bytes}; try again"
            )
        wanted = _sources_of(visit, frame)
        if set(arrays) != set(wanted):
            raise UserError(f"{where} carries {sorted(arrays)}; the link carries {sorted(wanted)}")
        for name, array in arrays.items():
            _check_array(stage, frame, name, array, where)

    def _put(self, visit: Visit, frame: Frame, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            batch = array.shape[1 if visit.stage.inputs[name].timed else 0]
            if visit.batch and batch != visit.batch:
                raise UserError(
                    f"request {frame.request} has a batch of {visit.batch} at stage {visit.stage.name}, but {name!r} has "
                    f"{batch}; give all inputs the same batch"
                )
            visit.batch = batch
        visit.inbox[frame.sender].append((frame, arrays))
        visit.expected[frame.sender] += 1
        if frame.last:
            visit.complete.add(frame.sender)
        self.buffered_bytes += array_bytes(arrays.values())

    def _queue(self, visit: Visit) -> None:
        """Note that a block of the visit can be computed, if so."""
        try:
            if visit in visit.stage.ready or visit.block() is None:
                return
        except SynfireError as error:
            self.fail(visit.request.id, visit.request.origin, error)
            return
        visit.stage.ready[visit] = None
        heapq.heappush(self._heap, (visit.request.turn, -visit.stage.depth, next(self._entries), visit))

    def _waits_for_company(self, visit: Visit, now_s: float) -> bool:
        wait_s = self.settings.batch_wait_s
        if not wait_s or visit.number or not visit.external or visit.stage.single:
            return False
        company = sum(each.batch for each in visit.stage.ready)
        until_s = visit.arrived_s + wait_s
        if company >= self.settings.max_batch or until_s <= now_s:
            return False
        self.wake_s = min(self.wake_s, until_s)
        return True

    def _job(self, first: Visit) -> Job | None:
        visits = []
        for visit in self._company(first):
            del visit.stage.ready[visit]
            try:
                self._begin(visit)
                visits.append(visit)
            except Exception as error:  # the session's, or the engine's
                self.fail(visit.request.id, visit.request.origin, _in_stage(error, visit.stage))
        if not visits:
            return None
        blocks = tuple(block for block in (visit.block() for visit in visits) if block is not None)
        inputs = tuple(self._take(visit) for visit in visits)
        for visit in visits:
            visit.busy = True
        return Job(first.stage, tuple(visits), blocks, tuple(visit.state or {} for visit in visits), inputs)

    def _company(self, first: Visit) -> list[Visit]:
        """`first`, and those that can be computed together with it, the oldest first."""
        if first.stage.single or len(first.stage.ready) == 1:
            return [first]
        wanted, room = _likeness(first), self.settings.max_batch - first.batch
        company = [first]
        for visit in sorted(first.stage.ready, key=lambda each: each.request.turn):
            if visit is not first and visit.batch <= room and _likeness(visit) == wanted:
                company.append(visit)
                room -= visit.batch
        return company

    def _begin(self, visit: Visit) -> None:
        """Give a new visit its state: fresh, or what the session's last call left. Raises `UserError`."""
        if visit.state is not None:
            return
        slot = visit.session
        if slot is None or visit.first.start:
            program = visit.stage.program
            visit.state = program.initial_state(visit.batch) if program is not None else {}
        elif slot.state is None:
            raise UserError(
                f"session {visit.first.session!r} is not known at stage {visit.stage.name}: it never began, ended, failed, "
                "or was unused for too long; begin it with sequence_start=true"
            )
        elif slot.batch != visit.batch:
            raise UserError(
                f"session {visit.first.session!r} has a batch of {slot.batch}, this call has {visit.batch}; keep it equal"
            )
        else:
            visit.state = slot.state

    def _take(self, visit: Visit) -> dict[str, Array]:
        arrays = visit.take()
        self.buffered_bytes -= array_bytes(arrays.values())
        return arrays

    def _leave(self, visit: Visit, broken: bool = False) -> None:
        """End a visit: hand its state to the session, or drop it."""
        visit.dead = True
        visit.stage.ready.pop(visit, None)
        visit.request.visits.pop(visit.stage.key, None)
        self.buffered_bytes -= sum(array_bytes(each.values()) for q in visit.inbox.values() for _, each in q)
        visit.inbox = {sender: deque() for sender in visit.inbox}
        self._leave_session(visit, broken)

    def _keep(self, visit: Visit) -> None:
        """Send the origin the state that the session has now, if it asked for it."""
        first, state = visit.first, visit.state
        if first.token and first.session and state is not None:
            message = Checkpoint(first.model, visit.stage.host.stage, first.session, first.token)
            self.outbox.append(Outgoing(Packet(message, state), first.origin))

    def _leave_session(self, visit: Visit, broken: bool) -> None:
        slot = visit.session
        if slot is None:
            return
        slot.queue.remove(visit)
        if visit.state is not None:
            slot.state = None if broken or visit.first.end else visit.state
            slot.batch = visit.batch
            slot.used_s = visit.request.used_s
        if slot.queue:
            self._queue(slot.queue[0])
        elif slot.state is None:
            del visit.stage.sessions[visit.first.session]

    def _emit(self, visit: Visit, block: Block, outputs: Mapping[str, Array], now_s: float) -> None:
        stage = visit.stage
        alone = (Departure(GATEWAY, tuple(stage.outputs)),)
        for departure in alone if visit.first.alone else stage.host.departures:
            sources = stage.leaving(departure, block.number == 0)
            if not sources:
                continue
            timed = any(stage.outputs[source].timed for source in sources)
            packet = Packet(
                _frame(visit, departure.receiver, block, timed), {source: outputs[source] for source in sources}
            )
            tally = stage.links.setdefault(departure.receiver, LinkTally())
            tally.frames += 1
            tally.array_bytes += array_bytes(packet.arrays.values())
            if departure.receiver != GATEWAY and not departure.address:
                self.receive(packet, now_s, local=True)
            else:
                self.outbox.append(Outgoing(packet, visit.request.origin, departure.address, tally))

    def _visitors(self, stage: Stage) -> list[LiveRequest]:
        return [live for live in self.requests.values() if stage.key in live.visits]

    def _fail_all(self, requests: Iterable[LiveRequest], error: SynfireError) -> None:
        for live in list(requests):
            self.fail(live.id, live.origin, error)

    def _remember(self, request: str) -> None:
        self._gone[request] = None
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)


def _sources_of(visit: Visit, frame: Frame) -> tuple[str, ...]:
    stage = visit.stage
    sources = tuple(stage.inputs) if frame.alone else stage.arrivals[frame.sender].sources
    return sources if frame.number == 0 else tuple(s for s in sources if stage.inputs[s].timed)


def _check_array(stage: Stage, frame: Frame, name: str, array: Array, where: str) -> None:
    signal = stage.inputs[name]
    lead = 2 if signal.timed else 1
    fits = len(array.shape) == lead + len(signal.shape) and all(
        wanted in (-1, got) for wanted, got in zip(signal.shape, array.shape[lead:], strict=True)
    )
    if not fits or array.dtype != signal.kind.dtype or 0 in array.shape[:lead]:
        axes = "(steps, batch, …)" if signal.timed else "(batch, …)"
        raise UserError(
            f"{where}: {name!r} is {array.dtype} of shape {list(array.shape)}; it takes {axes} of {signal} in "
            f"{signal.kind.dtype}"
        )
    if signal.timed and array.shape[0] != frame.steps:
        raise UserError(f"{where}: {name!r} holds {array.shape[0]} steps, the frame says {frame.steps}")


def _likeness(visit: Visit) -> tuple[int, bool, bool]:
    """What blocks that are computed together agree in: their length, and the names of their inputs and states."""
    block = visit.block()
    begins = visit.number == 0
    goes_on = begins and bool(visit.first.session) and not visit.first.start
    return (block.steps if block else -1), begins and visit.stage.untimed, goes_on


def _frame(visit: Visit, receiver: str, block: Block, timed: bool) -> Frame:
    first = visit.first
    return Frame(
        first.model,
        visit.stage.host.stage,
        receiver,
        first.request,
        first.origin,
        block.number,
        block.first_step,
        block.steps if timed else 0,
        block.last or not timed,
        first.session,
        first.start,
        first.end,
        visit.stage.host.epoch,
        first.alone,
        pace=first.pace,
        token=first.token,
    )


def _awaits(live: LiveRequest, gone: set[tuple[str, str]]) -> bool:
    return any(
        (model, sender) in gone and sender not in visit.complete
        for (model, _), visit in live.visits.items()
        for sender in visit.senders
    )


def _in_stage(error: Exception, stage: Stage) -> SynfireError:
    if isinstance(error, SynfireError):
        return error
    return Bug(
        f"engine {stage.host.engine!r} failed in stage {stage.name}: {type(error).__name__}: {error}; please report this "
        "with the model and the input"
    )


def _count(stage: Stage) -> StageCount:
    tally = stage.tally
    links = tuple(LinkCount(name, t.frames, t.encoded_bytes, t.array_bytes) for name, t in stage.links.items())
    return StageCount(
        *stage.key, tally.jobs, tally.samples, tally.steps, tally.busy_s, tally.failures, stage.parameter_bytes, links
    )
