"""A model that runs whole in this process: the baseline that cuts are compared with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import Bug, DeadlineExceeded, UserError
from synfire.engines import ENGINES
from synfire.gateway.call import Call, Part
from synfire.gateway.frames import Frames
from synfire.gateway.inputs import samples
from synfire.graph import Graph, flatten
from synfire.ops import State
from synfire.plan.plan import GATEWAY, Link, Plan, Stage


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
        return self._program.initial_state(samples(self._program.graph, call.inputs))

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
