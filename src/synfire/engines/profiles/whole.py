"""A model as a profile computes it, in one process: each run of operators by its engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synfire.base.errors import UserError
from synfire.devices import DEVICES
from synfire.engines.engine import ENGINES, PROCESSOR
from synfire.engines.profiles.profile import Profile
from synfire.graph import Graph
from synfire.ops import Array, Clock
from synfire.plan import Demand, assumed, plan_offloaded, rooms, stage_graph

Part = tuple[tuple[str, ...], str]
"""Operators and the engine that runs them."""


def parts_of(graph: Graph, profile: Profile) -> list[Part]:
    """The whole flat graph, or, on another device, what that takes and what the processor keeps. Raises `UserError`."""
    if profile.device == PROCESSOR:
        return [(tuple(graph.order()), profile.engine)]
    refused = DEVICES[profile.device].refusals(graph)
    plan = plan_offloaded(Demand(profile.model, graph, assumed(graph)), rooms(2), profile.engine, refused)
    return [(stage.operators, plan.engine_of(stage)) for stage in plan.stages]


class Whole:
    """A flat graph's parts, one after the other."""

    def __init__(self, graph: Graph, parts: Sequence[Part]) -> None:
        self._graph = graph
        self._programs = [ENGINES[engine].installed().build(stage_graph(graph, names)) for names, engine in parts]

    def warm(self) -> None:
        for program in self._programs:
            program.warm()

    def run(self, inputs: Mapping[str, Array], batch: int, steps: int) -> dict[str, Array]:
        """The outputs of `batch` fresh requests, all time steps in one block: `(steps, batch, …)`."""
        found = dict(inputs)
        for program in self._programs:
            given = {name: found[name] for name in program.inputs}
            found |= program.run(program.initial_state(batch), given, steps)[1]
        return {name: found[source] for name, source in self._graph.outputs.items()}

    def classes(self, outputs: Mapping[str, Array]) -> Array:
        """What each request is put down as, `(batch,)`. Raises `UserError` for a model that gives no score per class."""
        scores = scores_of(self._graph)
        if scores is None:
            raise UserError("the model has no output with a score per class, so nothing can be said of its answers")
        found: Array = outputs[scores][-1].argmax(-1)
        return found


def scores_of(graph: Graph) -> str | None:
    """The output that has a score per class; None where there is none."""
    signals = graph.output_signals().items()
    scores = (name for name, each in signals if each.clock is Clock.RUNNING and len(each.shape) == 1 and each.size > 1)
    return next(scores, None)
