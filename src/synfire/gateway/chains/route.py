"""A chain as a route: whoever can call a model can call it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.chains import Joined
from synfire.chains.operators import graph_of
from synfire.gateway.call import Call, Part
from synfire.gateway.chains.asking import Asking
from synfire.gateway.chains.begun import Begun
from synfire.gateway.chains.counts import StepCounts
from synfire.gateway.chains.layout import Arrays, as_part, as_seen, joined_samples, one_sample
from synfire.gateway.chains.run import Run
from synfire.gateway.chains.trying import Trying, together
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.inputs import samples
from synfire.plan import Plan


class ChainRoute:
    """Answers calls of a chain through the data plane that it is served by. Made and used in one event loop.

    `counts` are those of its steps, by name.
    """

    def __init__(self, name: str, joined: Joined, plane: DataPlane, clock: Clock | None = None) -> None:
        self.graph = graph_of(joined)
        self.plan = Plan(model=name, granularity="chain", stages=(), links=(), frame_steps=1)
        self.counts = {step: StepCounts() for step in joined.order}
        self._joined = joined
        self._plane = plane
        self._clock = clock or SystemClock()
        self._outputs = self.graph.output_signals()
        self._begun = Begun(2 * plane.limits.sessions)

    @property
    def calls(self) -> tuple[str, ...]:
        """The models that its steps may call."""
        return self._joined.chain.called

    @property
    def ready(self) -> bool:
        """Whether all models that its steps may call are there."""
        return not self.failure

    @property
    def failure(self) -> str:
        """Which of its models is not there, and why; empty where all are. Those of the store are loaded when they are called."""
        for name in self.calls:
            try:
                model = self._plane.model(name)
            except UnknownName:
                if self._plane.on_demand is None:
                    return f"model {name!r}, which a step of it calls, is not served here"
                continue
            except TemporaryError as error:
                return f"a step of it calls {error}"
            if not model.ready:
                return f"model {name!r}, which a step of it calls, is not ready: {model.failure or 'its operators are moved'}"
        return ""

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Yield the call's parts in order; see `synfire.gateway.call.Route`."""
        if call.session:
            self._begun.arrive(call)
        inputs, batch = as_seen(self.graph.inputs, call.inputs), samples(self.graph, call.inputs)
        if self._joined.by_sample and batch > 1:
            yield as_part(self._outputs, await self._each(call, inputs, batch))
        elif self._joined.streams and call.part_steps:
            async with aclosing(self._formed(call, inputs)) as parts:
                async for part in parts:
                    yield part
        else:
            yield as_part(self._outputs, await self._whole(call, inputs))
        if call.session:
            self._begun.leave(call)

    async def _whole(self, call: Call, inputs: Arrays, sample: int = 0) -> Arrays:
        run = self._run(call, inputs, sample)
        await run.all()
        return run.outputs()

    async def _each(self, call: Call, inputs: Arrays, batch: int) -> Arrays:
        """Each sample by itself, all at the same time."""
        if call.session:
            raise UserError(
                f"chain {call.model!r} takes the samples of a request one by one, and a session goes on from one sample alone; send one"
            )
        found = await together([self._whole(call, one_sample(inputs, number), number) for number in range(batch)])
        return joined_samples(found)

    async def _formed(self, call: Call, inputs: Arrays) -> AsyncGenerator[Part, None]:
        run = self._run(call, inputs)
        await run.all(but=self._joined.streams)
        async with aclosing(run.parts()) as answers:
            async for answer in answers:
                yield as_part(self._outputs, answer.outputs, answer.first_step, answer.steps, answer.last)

    def _run(self, call: Call, inputs: Arrays, sample: int = 0) -> Run:
        asking = Asking(self._plane, self._joined, call, self._clock, self._begun, sample)
        return Run(self._joined, Trying(asking, self.counts), inputs)


def serve_chain(joined: Joined, plane: DataPlane) -> None:
    """Serve a chain by its name, through the data plane that serves its models."""
    name = joined.chain.name
    plane.add(name, ChainRoute(name, joined, plane))
