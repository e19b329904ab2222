"""Spreads stages evenly over workers, with few moves. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from synfire.control.order import Relocation
from synfire.control.placement import beside, relocated
from synfire.control.reach import suits
from synfire.control.state import PROCESSOR, ModelView, State, WorkerView
from synfire.plan.parts import joined, seam_s
from synfire.plan.plan import Stage
from synfire.plan.replicas import others

GAIN = 0.99
"""A move must bring the busier of its two workers below this share of what it does: less is not worth the interruption."""

SPLIT_GAIN = 0.9
"""So must a stage's being split: all its requests take longer from then on."""


def balancing(state: State, workers: Sequence[str]) -> tuple[Relocation, ...]:
    """The moves after which the busiest of `workers` is as little busy as single moves bring about.

    Again and again the stage goes, from the busiest worker that can do better, to the least busy one that can take it, which
    evens these two out most; among equals the one that leaves the fewest links between workers. A worker's work is the sum of
    its stages' predicted seconds a request. Stages that an unlike engine runs return to their device first. Where no stage's move
    helps, one is split again, if that is well worth the frames that then go from worker to worker.
    """
    trial, returning = state, _returning(state, workers)
    for each in returning:
        trial = _after(trial, each)
    while step := _best(trial, workers) or _best_split(trial, workers):
        trial = _after(trial, step)
    return tuple(_ways(state, trial, {(each.model, each.stage): each.engine for each in returning}))


def work_s(state: State, workers: Sequence[str]) -> dict[str, float]:
    """How busy each worker is: what its stages are predicted to take together, in seconds a request."""
    return {name: sum(cost_s(stage) for _, stage in state.stages_on(name)) for name in workers}


def cost_s(stage: Stage) -> float:
    """What a stage costs its worker a request; all the same where nothing was predicted."""
    return stage.busy_s or 1e-3


def _returning(state: State, workers: Sequence[str]) -> list[Relocation]:
    found: list[Relocation] = []
    for model in state.by_priority():
        for name, planned in () if model.stopped else model.substituted.items():
            stage = model.plan.stage(name)
            if stage not in model.placed:
                continue
            able = [each for each in state.workers.values() if each.name in workers or not state.load(each.name)]
            able = [each for each in able if may_take(state, model, stage, each, planned)]
            if able:
                target = min(able, key=lambda each: (state.load(each.name), each.name))
                found.append(Relocation(model.name, name, stage.worker, target.name, planned))
                state = _after(state, found[-1])
    return found


def _best(state: State, workers: Sequence[str]) -> Relocation | None:
    """The move that helps the busiest worker that can be helped; None when all is even."""
    busy = work_s(state, workers)
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


def _best_split(state: State, workers: Sequence[str]) -> Relocation | None:
    """The first or last parts of a stage whose move helps the busiest worker that can be helped so; None when none is worth it."""
    busy = work_s(state, workers)
    for source in sorted(workers, key=lambda name: (-busy[name], name)):
        found = [
            (max(busy[source] - gain_s, busy[way.target] + loss_s), way)
            for model, stage in state.stages_on(source)
            for going, gain_s, loss_s in _halves(model, stage)
            for target in workers
            for way in (Relocation(model.name, stage.name, source, target, parts=going),)
            if target != source and _may_split(state, way)
        ]
        better = [each for each in found if each[0] < SPLIT_GAIN * busy[source]]
        if better:
            return min(better, key=lambda each: (each[0], each[1].model, each[1].stage, each[1].parts, each[1].target))[
                1
            ]
    return None


def _halves(model: ModelView, stage: Stage) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Each beginning and end of a stage, by the names of its parts: what its worker would be rid of, and what another one get."""
    whole = not stage.busy_s or bool(others(model.plan, (stage,)))
    for at in range(1, len(stage.parts)) if not whole else ():
        first, last = stage.parts[:at], stage.parts[at:]
        crossing_s = seam_s(model.plan, first, last)
        for going in (first, last):
            own_s = joined(going).busy_s
            yield tuple(each.name for each in going), own_s - crossing_s, own_s + crossing_s


def _may_split(state: State, way: Relocation) -> bool:
    """Whether the parts may go that way."""
    model = state.models[way.model]
    going = joined([part for part in model.plan.stage(way.stage).parts if part.name in way.parts])
    if not may_take(state, model, going, state.workers[way.target]):
        return False
    after = _after(state, way)
    plan = after.models[way.model].plan
    return suits(after, plan, (plan.stage(going.name),), way.target)


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
        and worker.name not in {each.worker for each in others(model.plan, (stage,))}
        and not worker.leaving
        and state.runs(worker, engine)
        and (worker.kind == PROCESSOR or engine == worker.kind or stage.worker == worker.name or not _spared(state))
        and state.fits(worker.name, model.plan, (stage,), engine)
        and (model.name, stage.original) not in worker.refused
        and suits(state, model.plan, (stage,), worker.name)
        and ("#" not in model.name or worker.name not in beside(state, model))
    )


def _spared(state: State) -> bool:
    """Whether some worker has nothing but a processor."""
    return any(each.kind == PROCESSOR for each in state.workers.values())


def _after(state: State, way: Relocation) -> State:
    """The state after a move that leaves behind what it takes: nobody may count on that room before it is free."""
    model = state.models[way.model]
    hosted = {**model.hosted, (way.stage, way.source): model.epoch}
    return state.with_model(replace(relocated(model, [way]), hosted=hosted))


def _ways(before: State, after: State, engines: Mapping[tuple[str, str], str]) -> Iterator[Relocation]:
    """One way for each stage, or for those of its parts that end in one place, however often they were moved on paper; `engines`
    are those to which stages return."""
    for name, model in before.models.items():
        there = after.models[name].plan
        homes = {each: stage.worker for stage in there.stages if not stage.replica_of for each in stage.operators}
        for stage in model.placed:
            engine = engines.get((name, stage.name), "")
            ends = {part.name: homes[part.operators[0]] for part in stage.parts or (stage,)}
            if stage.replica_of:
                ends = {stage.name: there.stage(stage.name).worker}
            for target in dict.fromkeys(ends.values()):
                going = tuple(part for part, end in ends.items() if end == target)
                parts = going if len(going) < len(ends) else ()
                if target != stage.worker or (engine and not parts):
                    yield Relocation(name, stage.name, stage.worker, target, engine, parts)
