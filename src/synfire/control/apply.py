"""`apply(state, event) → state`: what is known after an event. Pure, and deaf to what is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from synfire.control import events
from synfire.control.events import Event
from synfire.control.state import GONE, READY, STARTING, STARTS, ModelView, Recovery, State, WorkerView


def apply(state: State, event: Event) -> State:
    """The next state. An event of an older epoch, or about what is gone, changes nothing."""
    return _RULES[type(event)](state, event)


def starting(state: State, worker: str) -> State:
    """A worker is being started: it counts among the spares to come."""
    if worker in state.workers:
        return state
    view = WorkerView(worker, status=STARTING)
    return replace(state, workers={**state.workers, worker: view}, born=state.born + 1)


def _worker_ready(state: State, event: events.WorkerReady) -> State:
    view = WorkerView(event.name, event.kind, event.group)
    state = replace(state, workers={**state.workers, event.name: view}, starts=STARTS)
    homeless = [model for model in state.models.values() if model.failure]
    for model in sorted(homeless, key=lambda each: -each.priority):
        state = _placed_again(state, model)
    return state


def _worker_lost(state: State, event: events.WorkerLost) -> State:
    known = state.workers.get(event.name)
    if known is None or known.status == GONE:
        return state
    starts = state.starts - (known.status == STARTING)
    state = replace(state, workers={**state.workers, event.name: replace(known, status=GONE)}, starts=starts)
    hit = [model for model in state.models.values() if event.name in model.plan.workers and not model.failure]
    if not hit:
        return state
    for model in sorted(hit, key=lambda each: -each.priority):
        state = _placed_again(state, model)
    models = tuple(model.name for model in hit)
    spare = next((w for m in models for w in state.models[m].plan.workers if w not in hit[0].plan.workers), "")
    recovery = Recovery(
        state.next_id,
        event.cause,
        event.name,
        event.began_s,
        event.at_s,
        models,
        tuple(state.models[model].epoch for model in models),
        spare,
        {"detect": event.at_s},
    )
    return _concluded(replace(state, recoveries=(*state.recoveries, recovery), next_id=state.next_id + 1), event.at_s)


def _placed_again(state: State, model: ModelView) -> State:
    """The model in a new epoch, with other workers in place of those that are gone; or without a place."""
    plan, missing = model.plan, [name for name in model.plan.workers if not _living(state, name)]
    for name in missing:
        stages = [stage.name for stage in plan.stages if stage.worker == name]
        heir = _heir(state, model.name, stages)
        if not heir:
            reason = f"no worker is left that can host {model.name}.{stages[0]}, which was on {name}"
            return _with(state, replace(model, epoch=model.epoch + 1, failure=reason, told=False))
        moved = tuple(
            msgspec.structs.replace(stage, worker=heir) if stage.worker == name else stage for stage in plan.stages
        )
        plan = msgspec.structs.replace(plan, stages=moved)
        state = _with(state, replace(model, plan=plan))
    return _with(state, replace(model, plan=plan, epoch=model.epoch + 1, failure="", told=False))


def _heir(state: State, model: str, stages: list[str]) -> str:
    """Who takes over: a spare that has built the most of it, else the worker with the fewest stages; empty for nobody."""
    wanted = {(model, stage) for stage in stages}
    able = [each for each in state.workers.values() if each.status == READY and not each.refused & wanted]
    order = sorted(able, key=lambda each: (state.load(each.name), -len(each.prepared & wanted), each.name))
    return order[0].name if order else ""


def _model_added(state: State, event: events.ModelAdded) -> State:
    hosted = {stage.name: (stage.worker, 0) for stage in event.plan.stages}
    return _with(state, ModelView(event.plan, 0, event.priority, hosted))


def _model_removed(state: State, event: events.ModelRemoved) -> State:
    models = {name: each for name, each in state.models.items() if name != event.model}
    return _concluded(replace(state, models=models), event.at_s)


def _suspended(state: State, event: events.Suspended) -> State:
    model = state.models.get(event.model)
    if model is None or event.epoch != model.epoch:
        return state
    return _ended(_with(state, replace(model, suspended=event.epoch)), event, "fence")


def _adopted(state: State, event: events.Adopted) -> State:
    after = _hosted(state, event.model, (event.stage,), event.worker, event.epoch)
    if after is state:
        return state
    return _ended(_ended(after, replace(event, at_s=event.at_s - event.proof_s), "adopt"), event, "verify")


def _relinked(state: State, event: events.Relinked) -> State:
    after = _hosted(state, event.model, event.stages, event.worker, event.epoch)
    return state if after is state else _ended(after, event, "relink")


def _hosted(state: State, name: str, stages: tuple[str, ...], worker: str, epoch: int) -> State:
    model = state.models.get(name)
    if model is None or epoch != model.epoch or not _living(state, worker):
        return state
    return _with(state, replace(model, hosted={**model.hosted, **dict.fromkeys(stages, (worker, epoch))}))


def _resumed(state: State, event: events.Resumed) -> State:
    model = state.models.get(event.model)
    if model is None or event.epoch != model.epoch:
        return state
    state = _with(state, replace(model, routed=event.epoch))
    counted = tuple(
        replace(each, replayed=each.replayed + event.replayed, restored=each.restored + event.restored)
        if event.model in each.models
        else each
        for each in state.recoveries
    )
    return _concluded(_ended(replace(state, recoveries=counted), event, "replay"), event.at_s)


def _given_up(state: State, event: events.GivenUp) -> State:
    model = state.models.get(event.model)
    if model is None or model.failure != event.reason:
        return state
    return _concluded(_with(state, replace(model, told=True)), event.at_s)


def _prepared(state: State, event: events.PreparedOn) -> State:
    return _noted(state, event.worker, "prepared", (event.model, event.stage))


def _refused(state: State, event: events.Refused) -> State:
    state = _noted(state, event.worker, "refused", (event.model, event.stage))
    model = state.models.get(event.model)
    if model is None or model.linked or model.plan.stage(event.stage).worker != event.worker:
        return state
    stages = [stage.name for stage in model.plan.stages if stage.worker == event.worker]
    heir = _heir(state, event.model, stages)
    if not heir:
        reason = f"no worker hosts {event.model}.{event.stage}: {event.reason}"
        return _with(state, replace(model, epoch=model.epoch + 1, failure=reason, told=False))
    moved = tuple(
        msgspec.structs.replace(stage, worker=heir) if stage.worker == event.worker else stage
        for stage in model.plan.stages
    )
    return _with(state, replace(model, plan=msgspec.structs.replace(model.plan, stages=moved), epoch=model.epoch + 1))


def _kept(state: State, event: events.Kept) -> State:
    return replace(state, finished=tuple(each for each in state.finished if each.id != event.id))


def _noted(state: State, worker: str, what: str, stage: tuple[str, str]) -> State:
    view = state.workers.get(worker)
    if view is None:
        return state
    noted: Any = {what: getattr(view, what) | {stage}}
    return replace(state, workers={**state.workers, worker: replace(view, **noted)})


def _living(state: State, worker: str) -> bool:
    return worker in state.workers and state.workers[worker].status == READY


def _with(state: State, model: ModelView) -> State:
    return replace(state, models={**state.models, model.name: model})


def _ended(state: State, event: Any, step: str) -> State:
    """A step has ended for one model: for a recovery it ends when it has for the last of its models."""
    recoveries = tuple(
        replace(each, ended_s={**each.ended_s, step: event.at_s}) if event.model in each.models else each
        for each in state.recoveries
    )
    return replace(state, recoveries=recoveries)


def _concluded(state: State, at_s: float) -> State:
    """Recoveries of which every model is settled are finished."""
    done = tuple(
        each
        for each in state.recoveries
        if all(name not in state.models or state.models[name].settled for name in each.models)
    )
    return replace(
        state,
        recoveries=tuple(each for each in state.recoveries if each not in done),
        finished=(*state.finished, *(replace(each, failures=_failures(state, each)) for each in done)),
    )


def _failures(state: State, recovery: Recovery) -> tuple[str, ...]:
    models = (state.models[name] for name in recovery.models if name in state.models)
    return tuple(f"{model.name}: {model.failure}" for model in models if model.failure)


_RULES: dict[type[Event], Callable[[State, Any], State]] = {
    events.WorkerReady: _worker_ready,
    events.WorkerLost: _worker_lost,
    events.ModelAdded: _model_added,
    events.ModelRemoved: _model_removed,
    events.Suspended: _suspended,
    events.Adopted: _adopted,
    events.Relinked: _relinked,
    events.Resumed: _resumed,
    events.GivenUp: _given_up,
    events.PreparedOn: _prepared,
    events.Refused: _refused,
    events.Kept: _kept,
    events.Nothing: lambda state, _: state,
}
