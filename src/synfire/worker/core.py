"""The work of a worker, without I/O, threads or a clock: frames go in, jobs are taken and finished, frames come out.

A frame is for a stage (`hosting`), is checked (`intake`), and waits in its request's visit there (`stage`), in its session's
turn (`sessions`), until its block's turn comes (`schedule`). What a finished job (`job`) gives goes out (`outgoing`).

**Bounds.** An origin, and a stage that makes its own time steps, may be at most `window` frames ahead of the answer that
the gateway has taken (`Advance`). So at most requests · window frames wait anywhere, and every inbox has room for all of
them: no sender ever waits for a receiver, hence no circle of waiting, however a graph crosses its workers. Progress by
induction: the oldest unanswered frame's inputs are older frames, or the same at stages before.

**State** belongs to a visit, one request at one stage. It is dropped with the last frame, kept in the session's slot when
there is a session, and dropped everywhere when a request fails or is cancelled.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping

from synfire.base.errors import Bug, Interrupted, Overloaded, SynfireError, TemporaryError, UserError
from synfire.engines import Program
from synfire.graph import Graph
from synfire.ops import State
from synfire.plan.plan import GATEWAY
from synfire.wire.messages import Frame, Host, Relink, Restore, StageCount, failure_of
from synfire.wire.stream import Packet, array_bytes
from synfire.worker import sessions
from synfire.worker.hosting import Stages
from synfire.worker.intake import check_frame
from synfire.worker.job import Job, Outcome
from synfire.worker.membranes import Membranes
from synfire.worker.outgoing import Outgoing, checkpoints_of, frames_of
from synfire.worker.schedule import Schedule
from synfire.worker.settings import Settings
from synfire.worker.stage import Block, LiveRequest, Stage, Visit

_REMEMBERED = 8192


class Core:
    """All stages and requests of one worker. Deterministic: the same calls in the same order give the same results."""

    def __init__(self, who: str, settings: Settings | None = None) -> None:
        self.who = who
        self.settings = settings or Settings()
        self.outbox: deque[Outgoing] = deque()
        self.stages = Stages(who, self.settings.parameter_bytes)
        self.requests: dict[str, LiveRequest] = {}
        self.buffered_bytes = 0
        self.membranes = Membranes(self.settings.check_states)
        self._schedule = Schedule(self.settings)
        self._turns = itertools.count()
        self._depths = itertools.count()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._lost: OrderedDict[str, None] = OrderedDict()

    @property
    def idle(self) -> bool:
        """Whether no request is here."""
        return not self.requests

    @property
    def has_work(self) -> bool:
        """Whether a job may be ready; `next_job` knows."""
        return not self._schedule.empty

    @property
    def wake_s(self) -> float:
        """When `next_job` shall be asked again, though nothing arrives."""
        return self._schedule.wake_s

    @property
    def sessions(self) -> int:
        """Sessions whose state is kept, over all stages."""
        return sum(len(stage.sessions) for stage in self.stages.values())

    def describe(self) -> tuple[StageCount, ...]:
        """What every stage did so far."""
        return self.stages.count(Counter(key for live in self.requests.values() for key in live.visits))

    def host(self, host: Host, graph: Graph, program: Program | None) -> Stage:
        """Take up a stage. Stages of a model are hosted in topological order.

        Raises `UserError` for links that do not fit the graph, `PermanentError` when its parameters do not fit.
        """
        stage = Stage(host, graph, program, next(self._depths))
        old = self.stages.add(stage)
        if old is not None:
            self._fail_all(self._visitors(old), Interrupted(f"stage {stage.name} was replaced; try again"))
        return stage

    def unhost(self, model: str, stages: Collection[str] = ()) -> None:
        """Drop those stages of the model that are named, all where none is; what is in flight there fails."""
        unloaded = TemporaryError(f"model {model!r} is being unloaded; try again later")
        moved = Interrupted(f"stages of model {model!r} have been moved; try again")
        for stage in self.stages.remove(model, stages):
            self._fail_all(self._visitors(stage), moved if stages else unloaded)

    def relink(self, relink: Relink) -> None:
        """Take stages into a new epoch; requests of older epochs there are forgotten. Raises as `Stages.relink` does."""
        for stage in self.stages.relink(relink):
            for live in self._visitors(stage):
                if live.visits[stage.key].first.epoch < relink.epoch:
                    self.cancel(live.id)

    def receive(self, packet: Packet, now_s: float, local: bool = False) -> None:
        """Take in a frame. Whatever is wrong with it fails its request, and no other."""
        frame = packet.message
        if not isinstance(frame, Frame):
            raise Bug(f"the core takes frames, not {type(frame).__name__}")
        if frame.request in self._gone or frame.origin in self._lost:
            return  # nobody waits for it: it was cancelled, or failed here before, or who asked is gone
        try:
            if packet.fault is not None:
                raise packet.fault
            visit = self._visit(frame, now_s, external=not local)
            if frame.number < visit.expected[frame.sender]:
                return  # a repetition
            size = array_bytes(packet.arrays.values())
            if not local:
                check_frame(visit, frame, packet.arrays)
                self._check_room(frame, size)
            visit.put(frame, packet.arrays)
            self.buffered_bytes += size
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

    def next_job(self, now_s: float) -> Job | None:
        """The blocks to compute now, or None; then look again at `wake_s`, or when something has arrived."""
        job = None
        while job is None and (company := self._schedule.take(now_s)):
            job = self._job(company)
        return job

    def finish(self, job: Job, outcomes: Iterable[Outcome], busy_s: float, now_s: float) -> None:
        """Take back a job: states are kept, outputs go on, errors are answered."""
        tally = job.stage.tally
        tally.jobs += 1
        tally.busy_s += busy_s
        for visit, block, arrays, outcome in zip(job.visits, job.blocks, job.inputs, outcomes, strict=True):
            visit.busy = False
            tally.samples += visit.batch
            tally.steps += visit.batch * block.steps
            if visit.dead:
                continue
            if outcome.error is not None:
                tally.failures += 1
                self._fail_visit(visit, outcome.error)
            else:
                tally.look(job.stage, arrays, outcome.outputs)
                self._go_on(visit, block, outcome, now_s)

    def give(self, job: Job, outcome: Outcome, last: bool, now_s: float) -> None:
        """A stage that streams has computed the next step of its only visit, or failed: that goes on at once."""
        (visit,) = job.visits
        if visit.dead:
            return
        tally = job.stage.tally
        if outcome.error is not None:
            tally.failures += 1
            self._fail_visit(visit, outcome.error)
            return
        tally.steps += visit.batch
        tally.jobs += last
        tally.samples += visit.batch * last
        visit.busy = not last
        self._go_on(visit, Block(visit.number, visit.number, 1, last), outcome, now_s)

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
            if stage.host.model == model:
                sessions.forget(stage, session)

    def restore(self, message: Restore, state: State, now_s: float) -> None:
        """Let the session go on from `state` at a stage. Raises `Interrupted` where it is not here, and while a call of it is."""
        sessions.restore(self.stages.routed(message.model, message.stage), message, state, now_s)

    def flip(self, stage: Stage, seed: int) -> str:
        """Have a bit flip of a state that rests at the stage. Raises as `Membranes.flip` does."""
        visits = [live.visits[stage.key] for live in self._visitors(stage)]
        return self.membranes.flip(stage, visits, seed)

    def visited(self, stage: Stage) -> bool:
        """Whether a request is at the stage."""
        return any(stage.key in live.visits for live in self.requests.values())

    def lost_origin(self, origin: str) -> None:
        """The gateway `origin` is gone: nobody waits for its requests, and frames of these may still come from other workers."""
        _remember(self._lost, origin)
        for live in [each for each in self.requests.values() if each.origin == origin]:
            self.cancel(live.id)

    def found_origin(self, origin: str) -> None:
        """The gateway `origin` is there (again)."""
        self._lost.pop(origin, None)

    def lost_address(self, address: str, error: SynfireError) -> None:
        """The link to the worker at `address` broke: requests here that have still to cross it fail."""
        self._fail_all([each for each in self.requests.values() if each.leads_to(address)], error)

    def lost_senders(self, keys: Iterable[tuple[str, str]], error: SynfireError) -> None:
        """The worker that hosts the stages `keys` (model, stage) is gone: requests that await frames from it fail."""
        gone = set(keys)
        self._fail_all([each for each in self.requests.values() if each.awaits(gone)], error)

    def expire(self, now_s: float) -> None:
        """Forget sessions that nobody used, and fail requests that do not move, for too long."""
        for stage in self.stages.values():
            sessions.expire(stage, now_s - self.settings.session_idle_s)
        oldest_s = now_s - self.settings.request_idle_s
        stuck = [live for live in self.requests.values() if live.used_s < oldest_s]
        self._fail_all(stuck, TemporaryError(f"worker {self.who} waited {self.settings.request_idle_s} s for frames"))

    def _visit(self, frame: Frame, now_s: float, external: bool) -> Visit:
        live = self.requests.get(frame.request)
        visit = live.visits.get((frame.model, frame.receiver)) if live else None
        if visit is None:
            visit = self._open(live, self.stages.awaiting(frame), frame, now_s, external)
        if frame.sender not in visit.expected:
            raise UserError(f"stage {visit.stage.name} has no link from {frame.sender!r}; check the plan")
        visit.request.used_s = now_s
        return visit

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
            visit = Visit(live, stage, frame, now_s, *stage.awaited(frame.lane), external)
        sessions.join(visit, self.settings.max_sessions)
        self.requests[live.id] = live
        live.visits[stage.key] = visit
        return visit

    def _check_room(self, frame: Frame, size: int) -> None:
        if self.buffered_bytes + size > self.settings.inbox_bytes:
            raise Overloaded(
                f"frame {frame.number} of request {frame.request}: {self.buffered_bytes} bytes wait at worker {self.who}, the "
                f"limit is inbox_bytes={self.settings.inbox_bytes}; try again"
            )

    def _queue(self, visit: Visit) -> None:
        """Note that a block of the visit can be computed, if so."""
        try:
            self._schedule.add(visit)
        except SynfireError as error:
            self._fail_visit(visit, error)

    def _job(self, company: Mapping[Visit, Block]) -> Job | None:
        visits = []
        for visit in company:
            try:
                sessions.begin(visit)
                self.membranes.check(visit)
                visits.append(visit)
            except Exception as error:  # the session's, or the engine's, or a state that memory has spoilt
                self._fail_visit(visit, error)
        if not visits:
            return None
        blocks = tuple(company[visit] for visit in visits)
        inputs = tuple(visit.take() for visit in visits)
        for visit, arrays in zip(visits, inputs, strict=True):
            self.buffered_bytes -= array_bytes(arrays.values())
            visit.busy = True
        return Job(visits[0].stage, tuple(visits), blocks, tuple(visit.state or {} for visit in visits), inputs)

    def _go_on(self, visit: Visit, block: Block, outcome: Outcome, now_s: float) -> None:
        """A block of the visit is computed: keep its state, send its outputs, and look for the next one."""
        visit.fresh = False
        if block.last and (visit.first.end or visit.session is None):
            visit.state = outcome.state
        else:
            self.membranes.lay(visit, outcome.state)
        visit.number += 1
        visit.request.used_s = now_s
        if block.last:
            self._leave(visit)
        else:
            self._queue(visit)
        try:
            self._emit(visit, block, outcome, now_s)
            if block.last:
                self.outbox.extend(checkpoints_of(visit))  # after the answer, for which somebody waits
        except Exception as error:  # an engine that does not give what it promised
            self._fail_visit(visit, error)
        if not visit.request.visits:
            self.requests.pop(visit.request.id, None)

    def _emit(self, visit: Visit, block: Block, outcome: Outcome, now_s: float) -> None:
        for outgoing in frames_of(visit, block, outcome):
            if outgoing.local:
                self.receive(outgoing.packet, now_s, local=True)
            else:
                self.outbox.append(outgoing)

    def _leave(self, visit: Visit, broken: bool = False) -> None:
        """End a visit: hand its state to the session, or drop it."""
        self._schedule.drop(visit)
        visit.request.visits.pop(visit.stage.key, None)
        self.buffered_bytes -= visit.waiting_bytes
        visit.end()
        next_in_turn = sessions.leave(visit, broken)
        if next_in_turn is not None:
            self._queue(next_in_turn)

    def _visitors(self, stage: Stage) -> list[LiveRequest]:
        return [live for live in self.requests.values() if stage.key in live.visits]

    def _fail_visit(self, visit: Visit, error: Exception) -> None:
        """Fail the visit's request; what an engine raises is told as such."""
        stage = visit.stage
        if not isinstance(error, SynfireError):
            error = Bug(
                f"engine {stage.host.engine!r} failed in stage {stage.name}: {type(error).__name__}: {error}; please report "
                "this with the model and the input"
            )
        self.fail(visit.request.id, visit.request.origin, error)

    def _fail_all(self, requests: Iterable[LiveRequest], error: SynfireError) -> None:
        for live in list(requests):
            self.fail(live.id, live.origin, error)

    def _remember(self, request: str) -> None:
        _remember(self._gone, request)


def _remember(names: OrderedDict[str, None], name: str) -> None:
    """The latest names are remembered."""
    names[name] = None
    if len(names) > _REMEMBERED:
        names.popitem(last=False)
