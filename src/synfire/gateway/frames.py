"""A call as frames: how its inputs are split for the stages that take them, and its outputs put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from synfire.base.errors import Bug, UserError
from synfire.gateway.call import Part
from synfire.graph import Graph
from synfire.ops import Array
from synfire.plan.plan import GATEWAY, Link, Plan


class Span(msgspec.Struct, frozen=True):
    """The time steps that one frame of a call covers; `steps` is 0 in a call without time steps."""

    number: int
    first_step: int
    steps: int
    last: bool


class Entry(msgspec.Struct, frozen=True):
    """What one stage receives from the gateway with one frame."""

    stage: str
    span: Span
    arrays: Mapping[str, Array]


_UNTIMED = Span(0, 0, 0, True)


class Frames:
    """Splits and joins the calls of one plan. `graph` is flat."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self._graph = graph
        self._plan = plan
        self._timed = {name: signal.timed for name, signal in graph.signals().items()}
        self._timed_inputs = [name for name in graph.inputs if self._timed[name]]
        self._steps = graph.steps
        self._usual = self._cut(self._steps or 0, plan.frame_steps)
        entries = _grouped((link.receiver, link) for link in plan.links if link.sender == GATEWAY)
        self._entries = [(stage, sources, self._any_timed(sources)) for stage, sources in entries.items()]
        exits = _grouped(
            (link.sender, link) for link in plan.links if link.receiver == GATEWAY and link.sender != GATEWAY
        )
        self._exits = frozenset(exits)
        self._timed_exits = frozenset(name for name, sources in exits.items() if self._any_timed(sources))

    def spans(self, inputs: Mapping[str, Array], part_steps: int = 0) -> list[Span]:
        """The frames of a call, in order, of `part_steps` steps each, or as many as the plan says.

        Raises `UserError` when the inputs disagree on the number of steps.
        """
        if not self._timed_inputs and not part_steps:
            return self._usual
        return self._cut(self._total(inputs), part_steps or self._plan.frame_steps)

    def entries(self, span: Span, inputs: Mapping[str, Array]) -> list[Entry]:
        """What each receiving stage is sent with the frame `span`."""
        found = []
        for stage, sources, timed in self._entries:
            arrays = {
                source: inputs[source][span.first_step : span.first_step + span.steps]
                if self._timed[source]
                else inputs[source]
                for source in sources
                if span.number == 0 or self._timed[source]
            }
            if arrays:
                found.append(Entry(stage, span if timed else _UNTIMED, arrays))
        return found

    def parts(self, spans: list[Span]) -> list[Span]:
        """The frames that are answered: only the first one where no output runs on the step clock."""
        return spans if self._timed_exits else [_UNTIMED]

    def complete(self, span: Span, senders: Iterable[str]) -> bool:
        """Whether all stages that answer the frame `span` are among `senders`."""
        return (self._exits if span.number == 0 else self._timed_exits).issubset(senders)

    def part(self, span: Span, inputs: Mapping[str, Array], arrays: Mapping[str, Array]) -> Part:
        """The part of the answer that the frame `span` is, from the signals that the stages sent."""
        outputs = {}
        for name, source in self._graph.outputs.items():
            if source in arrays:
                outputs[name] = arrays[source]
            elif source in inputs and self._timed[source]:
                outputs[name] = inputs[source][span.first_step : span.first_step + span.steps]
            elif source in inputs and span.number == 0:
                outputs[name] = inputs[source]
            elif self._timed[source] or span.number == 0:
                raise Bug(f"no stage of model {self._plan.model!r} sent {source!r}; the plan's links are incomplete")
        return Part(outputs, span.first_step, span.steps, span.last)

    def _cut(self, total: int, size: int) -> list[Span]:
        if not total:
            return [_UNTIMED]
        starts = range(0, total, size)
        return [Span(n, t, min(size, total - t), t + size >= total) for n, t in enumerate(starts)]

    def _any_timed(self, sources: Iterable[str]) -> bool:
        return any(self._timed[source] for source in sources)

    def _total(self, inputs: Mapping[str, Array]) -> int:
        encoded = self._steps
        if not self._timed_inputs:
            return encoded or 0
        brought = {name: int(inputs[name].shape[0]) for name in self._timed_inputs}
        wanted = set(brought.values()) | ({encoded} if encoded else set())
        if len(wanted) > 1:
            made = f"; the encoders make {encoded}" if encoded else ""
            raise UserError(f"the inputs of model {self._plan.model!r} bring {brought} steps{made}: make them equal")
        if wanted == {0}:
            raise UserError(f"the inputs of model {self._plan.model!r} bring no time step; send at least one")
        return wanted.pop() if wanted else 0


def _grouped(pairs: Iterable[tuple[str, Link]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, link in pairs:
        found[name] = (*found.get(name, ()), link.source)
    return found
