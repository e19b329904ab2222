"""What a model says that nothing ever happens to: uncut, or, where a device takes some of it, as stages of which each has one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from synfire.devices import DEVICES
from synfire.engines import ENGINES
from synfire.engines.engine import PROCESSOR
from synfire.graph import Graph
from synfire.ops import Array, State
from synfire.plan import Demand, Plan, plan_offloaded, rooms
from synfire.plan.costs import assumed
from synfire.plan.plan import stage_graph


class Uncut:
    """A flat graph's stages, one after the other in one process, each by an engine of its own; or the graph as a whole."""

    def __init__(self, graph: Graph, stages: Sequence[tuple[tuple[str, ...], str]] = ()) -> None:
        everything = stages or [(tuple(graph.order()), PROCESSOR)]
        self._sources = graph.outputs
        self._programs = [ENGINES[engine]().build(stage_graph(graph, operators)) for operators, engine in everything]

    def initial_state(self) -> list[State]:
        """The state that a request, or a session, begins with."""
        return [program.initial_state(1) for program in self._programs]

    def run(
        self, states: Sequence[State], inputs: Mapping[str, Array], steps: int
    ) -> tuple[list[State], dict[str, Array]]:
        """The state after a request, and its outputs at every time step, `(steps, 1, …)`."""
        found, after = dict(inputs), []
        for program, state in zip(self._programs, states, strict=True):
            state, outputs = program.run(state, {name: found[name] for name in program.inputs}, steps)
            found |= outputs
            after.append(state)
        return after, {name: found[source] for name, source in self._sources.items()}


def undisturbed(model: str, graph: Graph, device: str) -> dict[tuple[str, ...], Uncut]:
    """What answers rightly, by the stages that a processor runs in place of the `device`: none of them as long as it lives.

    Without a device that is the uncut model alone. Which stages there are does not depend on workers.
    """
    if not device:
        return {(): Uncut(graph)}
    plan = plan_offloaded(Demand(model, graph, assumed(graph)), rooms(2), device, DEVICES[device].refusals(graph))
    return {
        gone: Uncut(graph, list(_parts(plan, gone))) for gone in _some_of([s.name for s in plan.stages if s.engine])
    }


def _parts(plan: Plan, gone: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    for stage in plan.stages:
        yield stage.operators, PROCESSOR if stage.name in gone else plan.engine_of(stage)


def _some_of(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every choice of these, none of them first."""
    return itertools.chain.from_iterable(itertools.combinations(names, count) for count in range(len(names) + 1))
