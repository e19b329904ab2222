"""A session's checkpoint for another cut: stages that were split, or joined, meanwhile take up what their operators remembered."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from synfire.base.errors import TemporaryError
from synfire.engines.reference import part_of
from synfire.gateway.protection import Saved
from synfire.graph import Graph
from synfire.ops import State
from synfire.plan.plan import Plan, Stage, stage_graph
from synfire.wire.checksums import checksum

Parts = MutableMapping[str, tuple[Graph, str]]
"""Stages' graphs with their content digests, by stage name."""


def recut(graph: Graph, plan: Plan, states: Mapping[str, Saved], parts: Parts) -> dict[str, Saved]:
    """The states of a checkpoint by the stages of `plan`, whatever the stages were that they were saved for.

    `graph` is flat. `parts` is filled with the graphs of stages that are new, and read where it holds them: their digests take
    as long as it takes to read all weights, so this is nothing for an event loop. Raises `TemporaryError` for a damaged state.
    """
    return {
        stage.name: states[stage.name] if stage.name in states else _gathered(graph, plan, stage, states, parts)
        for stage in plan.stages
    }


def _gathered(graph: Graph, plan: Plan, stage: Stage, states: Mapping[str, Saved], parts: Parts) -> Saved:
    """What the stage's operators remembered, made by the engine that runs them, as if it had always been that stage."""
    if stage.name not in parts:
        made = stage_graph(graph, stage.operators)
        parts[stage.name] = made, made.content_digest()
    part, digest = parts[stage.name]
    state: State = {}
    for name, saved in states.items():
        if own := part_of(saved.state, part):
            _require_sound(plan.model, name, saved)
            state |= own
    makers = (saved.maker.rpartition(" ")[0] for saved in states.values())
    maker = next(each for each in makers if each.partition(" ")[0] == plan.engine_of(stage))
    summed = any(saved.checksum is not None for saved in states.values())
    return Saved(state, f"{maker} {digest}", checksum(state) if summed else None)


def _require_sound(model: str, stage: str, saved: Saved) -> None:
    if saved.checksum is not None and checksum(saved.state) != saved.checksum:
        raise TemporaryError(
            f"a session of model {model!r} cannot go on at stage {stage}: its checkpoint is damaged, memory has lost a bit of it; "
            "begin it again with sequence_start=true"
        )
