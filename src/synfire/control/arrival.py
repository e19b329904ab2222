"""Where the stages of a model that begins go when a worker that its plan names cannot take them any more. Pure.

A plan is older than the moment in which it is followed: of a model that was unloaded, or that waits for its controller, a worker
may have lost its device since, or its room, or be about to leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from synfire.base.errors import TemporaryError
from synfire.control.placement import beside, device_of, fitted, why_none_starts
from synfire.control.state import PROCESSOR, RETIRING, ModelView, State, cores_on
from synfire.plan import Plan
from synfire.plan.costs import format_bytes
from synfire.plan.plan import Stage


def received(state: State, plan: Plan) -> ModelView:
    """The model that begins, every stage in a place: where its plan wants it if that can be, else where it would go after a loss.

    Workers that are not there are to be started; where nothing begins any, the model is fresh, and waits for its places, unless its plan names workers that
    have joined. Raises `TemporaryError` when a worker of the plan has no room for its stages and
    no other one has, when nobody can take what was on a device that is lost, and when there would be too many workers.
    """
    model = ModelView(plan)
    if not state.begins and not all(state.living(each) for each in plan.workers):
        return replace(model, fresh=True)
    unfit = tuple(_unfit(state, plan))
    found = model
    if unfit:
        ways = (
            fitted(state, model, unfit, but, unlike)
            for but, unlike in ((beside(state, model), False), ((), False), ((), True))
        )
        found = next((each for each in ways if each is not None), model)
        if found is model:
            raise TemporaryError(_why(state, plan, unfit))
    count = len({*state.workers, *found.plan.workers})
    if state.most_workers is not None and count > state.most_workers:
        raise TemporaryError(
            f"model {plan.model!r} would take {count} workers with those that run, and {state.most_workers} may run at a "
            "time; allow more with --most-workers"
        )
    return found


def _unfit(state: State, plan: Plan) -> Iterator[Stage]:
    """The stages whose worker cannot take them."""
    free = dict(state.devices)
    for name in plan.workers:
        stages = tuple(stage for stage in plan.stages if stage.worker == name)
        if name in state.workers:
            able = _able(state, plan, stages)
        else:
            kind = device_of(state, plan, stages)
            free[kind] = free.get(kind, 1) - (kind in free)
            roomy = cores_on(kind, plan, stages).fit(state.cores.get(kind))
            able = free[kind] >= 0 and roomy and _need(stages) <= (state.memory_bytes or _need(stages))
        yield from () if able else stages


def _able(state: State, plan: Plan, stages: tuple[Stage, ...]) -> bool:
    """Whether the worker of these stages, which is there, stays, has their devices, and room for all of them."""
    worker = state.workers[stages[0].worker]
    stays = worker.status != RETIRING and not worker.leaving
    return (
        stays
        and all(state.runs(worker, plan.engine_of(each)) for each in stages)
        and state.fits(worker.name, plan, stages)
    )


def _need(stages: tuple[Stage, ...]) -> int:
    return sum(each.memory_bytes for each in stages)


def _why(state: State, plan: Plan, unfit: tuple[Stage, ...]) -> str:
    """Why nobody takes the first of these stages and those beside it."""
    name = unfit[0].worker
    stages = tuple(each for each in unfit if each.worker == name)
    need = _need(stages)
    room = state.room(name) if name in state.workers else state.memory_bytes or need
    if need > room:
        return (
            f"worker {name} has room for {format_bytes(int(room))}, the stages of model {plan.model!r} there take "
            f"{format_bytes(need)}, and no other worker has room for them; unload another model first, or allow workers more "
            "with --memory"
        )
    kind = device_of(state, plan, stages)
    cores = cores_on(kind, plan, stages)
    there = state.free_cores(name) if name in state.workers else state.cores.get(kind)
    if not cores.fit(there):
        return (
            f"worker {name} has {there} of its {kind} free, the stages of model {plan.model!r} there take {cores}, and no other worker has "
            "room for them; unload another model first, or add workers"
        )
    wants = f" of kind {kind}" if kind != PROCESSOR else ""
    others = why_none_starts(state, kind, need, cores)
    return (
        f"worker {name} cannot take stage {stages[0].name} of model {plan.model!r} any more, and no other worker{wants} can"
        f"{f': {others}' if others else ''}; try again in some seconds"
    )
