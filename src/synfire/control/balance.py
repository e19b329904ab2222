"""Spreads stages evenly over workers, with few moves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from synfire.control.order import Relocation
from synfire.control.placement import with_stages
from synfire.control.reach import suits
from synfire.control.state import PROCESSOR, ModelView, State, WorkerView
from synfire.plan.plan import Stage

GAIN = 0.99
"""A move must bring the busier of its two workers below this share of what it does: less is not worth the interruption."""


def balancing(state: State, workers: Sequence[str]) -> tuple[Relocation, ...]:
    """The moves after which the busiest of `workers` is as little busy as single moves bring about.

    Again and again the stage goes, from the busiest worker that can do better, to the least busy one that can take it, which
    evens these two out most; among equals the one that leaves the fewest links between workers. A worker's work is the sum of
    its stages' predicted seconds a request. Stages that an unlike engine runs return to their device first.
    """
    trial, moves = state, _returning(state, workers)
    for each in moves:
        trial = _after(trial, each)
    while (step := _best(trial, workers)) is not None:
        trial = _after(trial, step)
        moves.append(step)
    return _joined(state, moves)


def cost_s(stage: Stage) -> float:
    """What a stage costs its worker a request; all the same where nothing was predicted."""
    return stage.busy_s or 1e-3


def _returning(state: State, workers: Sequence[str]) -> list[Relocation]:
    found: list[Relocation] = []
    for model in state.by_priority():
        for name, planned in () if model.stopped else model.substituted.items():
            stage = model.plan.stage(name)
            able = [each for each in state.workers.values() if each.name in workers or not state.load(each.name)]
            able = [each for each in able if may_take(state, model, stage, each, planned)]
            if able:
                target = min(able, key=lambda each: (state.load(each.name), each.name))
                found.append(Relocation(model.name, name, stage.worker, target.name, planned))
                state = _after(state, found[-1])
    return found


def _best(state: State, workers: Sequence[str]) -> Relocation | None:
    """The move that helps the busiest worker that can be helped; None when all is even."""
    busy = {name: sum(cost_s(stage) for _, stage in state.stages_on(name)) for name in workers}
    for source in sorted(workers, key=lambda name: (-busy[name], name)):
        found = [
            (max(busy[source] - cost_s(stage), busy[target] + cost_s(stage)), _links(model, stage, target), way)
            for model, stage in state.stages_on(source)
            for target in workers
            if target != source and may_take(state, model, stage, state.workers[target])
            for way in (Relocation(model.name, stage.name, source, target),)
        ]
        better = [each for each in found if each[0] < GAIN * busy[source]]
        if better:
            return min(better, key=lambda each: (each[0], each[1], each[2].model, each[2].stage, each[2].target))[2]
    return None


def _links(model: ModelView, stage: Stage, target: str) -> int:
    """How many links of a stage would cross workers, were it on `target`."""
    homes = {each.name: each.worker for each in model.plan.stages}
    ends = [
        link.receiver if link.sender == stage.name else link.sender
        for link in model.plan.links
        if stage.name in (link.sender, link.receiver)
    ]
    return sum(homes.get(end, target) != target for end in ends)


def may_take(state: State, model: ModelView, stage: Stage, worker: WorkerView, engine: str = "") -> bool:
    """Whether a worker may take a stage, to run it by another engine where one is named.

    Workers with a device are left to the stages that need it, as long as there are others.
    """
    engine = engine or model.plan.engine_of(stage)
    return (
        state.living(worker.name)
        and not worker.leaving
        and state.runs(worker, engine)
        and (worker.kind == PROCESSOR or engine == worker.kind or stage.worker == worker.name or not _spared(state))
        and stage.memory_bytes <= state.room(worker.name)
        and (model.name, stage.name) not in worker.refused
        and suits(state, model.plan, (stage,), worker.name)
    )


def _spared(state: State) -> bool:
    """Whether some worker has nothing but a processor."""
    return any(each.kind == PROCESSOR for each in state.workers.values())


def _after(state: State, way: Relocation) -> State:
    """The state after a move that leaves behind what it takes: nobody may count on that room before it is free."""
    model = state.models[way.model]
    stage = model.plan.stage(way.stage)
    hosted = {**model.hosted, (way.stage, way.source): model.epoch}
    moved = msgspec.structs.replace(stage, worker=way.target, engine=way.engine or stage.engine)
    return state.with_model(replace(model, plan=with_stages(model.plan, [moved]), hosted=hosted))


def _joined(state: State, moves: Sequence[Relocation]) -> tuple[Relocation, ...]:
    """One way for each stage, however often it was moved on paper; none for one that ends where it began."""
    ends: dict[tuple[str, str], Relocation] = {}
    for each in moves:
        key = each.model, each.stage
        before = ends.get(key, each)
        ends[key] = replace(each, source=before.source, engine=each.engine or before.engine)
    return tuple(each for each in ends.values() if each.source != each.target or each.engine)
