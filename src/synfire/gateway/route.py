"""The way of a model's calls through its stages, on workers or in this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import Bug, DeadlineExceeded, SynfireError, UserError
from synfire.engines import ENGINES
from synfire.gateway.call import Call, Part
from synfire.gateway.frames import Frames, Span
from synfire.gateway.peer import Inbox, Peer
from synfire.graph import Graph, flatten
from synfire.ops import Array, State
from synfire.plan.plan import GATEWAY, Link, Plan, Stage
from synfire.wire.messages import Advance, Cancel, Forget, Frame
from synfire.wire.stream import Packet

WINDOW = 16
"""How many frames of one call may be under way. It keeps a pipeline of as many stages busy; memory grows with it."""


class WorkerRoute:
    """Sends the inputs of calls to the workers of a plan, frame by frame, and gathers the outputs.

    `peers` are the connections to the workers, by name; `who` is this gateway. Made and used in one event loop.
    """

    def __init__(
        self, graph: Graph, plan: Plan, peers: Mapping[str, Peer], who: str, clock: Clock | None = None
    ) -> None:
        self.graph = graph
        self.plan = plan
        self.window = WINDOW
        self._frames = Frames(flatten(graph), plan)
        self._peers = [peers[name] for name in plan.workers]
        self._peer_of = {stage.name: peers[stage.worker] for stage in plan.stages}
        self._who = who
        self._clock = clock or SystemClock()
        self._ids = itertools.count(1)

    @property
    def ready(self) -> bool:
        """Whether every worker of the plan is there and takes calls."""
        return all(peer.lost is None and not peer.draining for peer in self._peers)

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Yield the call's parts in order; see `synfire.gateway.call.Route`."""
        spans = self._frames.spans(call.inputs, call.part_steps)
        request = f"{self._who}-{self.plan.model}-{next(self._ids)}"
        with self._registered(request, call) as inbox:
            for span in spans[: self.window]:
                self._send(request, call, span)
            early: dict[int, dict[str, Mapping[str, Array]]] = {}
            for span in self._frames.parts(spans):
                arrived = early.setdefault(span.number, {})
                while not self._frames.complete(span, arrived):
                    frame, arrays = await inbox.get()
                    early.setdefault(frame.number, {})[frame.sender] = arrays
                del early[span.number]
                yield self._frames.part(span, call.inputs, {k: v for each in arrived.values() for k, v in each.items()})
                self._advance(request, call, spans, span.number + 1)

    @contextmanager
    def _registered(self, request: str, call: Call) -> Iterator[Inbox]:
        """Wait for answers in an inbox. When the call does not end well, cancel it at every worker."""
        inbox = Inbox()
        timer = self._deadline(call, inbox)
        try:
            for peer in self._peers:
                peer.register(request, inbox)
            yield inbox
        except BaseException:
            self._abandon(request, call)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            for peer in self._peers:
                peer.release(request)

    def _deadline(self, call: Call, inbox: Inbox) -> asyncio.TimerHandle | None:
        if call.deadline_s is None:
            return None
        error = DeadlineExceeded(
            f"call {call.id} of model {call.model!r} was not answered before its deadline; allow it more time"
        )
        left_s = max(0.0, call.deadline_s - self._clock.now_s())
        return asyncio.get_running_loop().call_later(left_s, inbox.fail, error)

    def _abandon(self, request: str, call: Call) -> None:
        for peer in self._peers:
            with contextlib.suppress(SynfireError):  # a worker that is gone has forgotten the request already
                peer.send(Packet(Cancel(request)))
                if call.session:
                    peer.send(Packet(Forget(self.plan.model, call.session)))

    def _advance(self, request: str, call: Call, spans: list[Span], taken: int) -> None:
        """The caller has taken all parts before `taken`: let further frames follow."""
        ahead = taken + self.window - 1
        if ahead < len(spans):
            self._send(request, call, spans[ahead])
        if len(spans) > self.window and taken % max(1, self.window // 2) == 0:
            for peer in self._peers:
                peer.send(Packet(Advance(request, taken)))

    def _send(self, request: str, call: Call, span: Span) -> None:
        for entry in self._frames.entries(span, call.inputs):
            frame = Frame(
                self.plan.model,
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
                pace=call.part_steps,
            )
            self._peer_of[entry.stage].send(Packet(frame, entry.arrays))


class LocalRoute:
    """The whole model as one program in this process: no worker, no cut. Calls run one block at a time, in a thread.

    The baseline that cuts are compared with, and what `synfire infer` uses without a server.
    """

    def __init__(self, graph: Graph, plan: Plan | None = None, engine: str = "cpu", clock: Clock | None = None) -> None:
        flat = flatten(graph)
        self.graph = graph
        self.plan = plan or whole_plan(graph, engine=engine)
        self._frames = Frames(flat, self.plan)
        self._inputs = {name: signal.timed for name, signal in flat.inputs.items()}
        self._outputs = flat.outputs
        self._program = ENGINES[engine]().build(flat)
        self._clock = clock or SystemClock()
        self._sessions: dict[str, State] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-route")

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Yield the call's parts in order; see `synfire.gateway.call.Route`."""
        state = self._begin(call)
        for span in self._frames.spans(call.inputs, call.part_steps):
            self._check_deadline(call)
            inputs = {
                name: call.inputs[name][span.first_step : span.first_step + span.steps] if timed else call.inputs[name]
                for name, timed in self._inputs.items()
                if timed or span.number == 0
            }
            loop = asyncio.get_running_loop()
            state, outputs = await loop.run_in_executor(self._thread, self._program.run, state, inputs, span.steps)
            if span.last and call.session and not call.end:
                self._sessions[call.session] = state
            yield Part(outputs, span.first_step, span.steps, span.last)

    def close(self) -> None:
        """Give the thread back."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(self, call: Call) -> State:
        """The state to begin with. While the call runs its session has none, so a failed call leaves none behind."""
        state = self._sessions.pop(call.session, None) if call.session else None
        if call.session and not call.start:
            if state is None:
                raise UserError(f"session {call.session!r} is not known; begin it with sequence_start=true")
            return state
        name, timed = next(iter(self._inputs.items()))
        return self._program.initial_state(call.inputs[name].shape[1 if timed else 0])

    def _check_deadline(self, call: Call) -> None:
        if call.deadline_s is not None and self._clock.now_s() >= call.deadline_s:
            raise DeadlineExceeded(f"call {call.id} of model {call.model!r} missed its deadline; allow it more time")


def whole_plan(graph: Graph, model: str = "model", engine: str = "cpu", frame_steps: int = 0) -> Plan:
    """The plan that does not cut: one stage on one worker; a frame holds all steps of the encoders unless said."""
    flat = flatten(graph)
    if not flat.order():
        raise Bug("a graph without operators needs no plan")
    read = {s.source for s in flat.synapses}
    entering = tuple(Link(source=name, sender=GATEWAY, receiver="all") for name in flat.inputs if name in read)
    leaving = tuple(
        Link(source=source, sender="all", receiver=GATEWAY)
        for source in dict.fromkeys(flat.outputs.values())
        if source in flat.operators
    )
    return Plan(
        model=model,
        granularity="model",
        stages=(Stage(name="all", operators=flat.order(), worker="w0"),),
        links=entering + leaving,
        frame_steps=frame_steps or flat.steps or 1,
        engine=engine,
    )
