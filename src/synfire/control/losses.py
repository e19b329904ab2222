"""Workers and devices come and go: what that does to models, and what is recorded of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synfire.control import events, reach, relief
from synfire.control.placement import rehomed, strays
from synfire.control.state import (
    PROCESSOR,
    READY,
    RETIRING,
    STARTING,
    STARTS,
    ModelView,
    Recovery,
    State,
    Substitution,
    WorkerView,
)

RETURN = "return"
"""The cause of a record about models that were stopped, and are served again."""

HOST_LOST = "host lost"
"""The cause of a loss that took the worker's whole host: nothing there can be reached, or all workers there went together."""

SEVERED = "severed link"
"""The cause of a record about stages whose workers live, and do not reach each other."""

TOGETHER_S = 1.0
"""Workers of one host go together when none of them follows the one before later than this, in seconds."""

_TOLD_BY_SILENCE = ("exit", "broken link", "hang")
"""Causes behind which the loss of a host may stand: a worker that leaves, or computes wrong, has a host."""


def starting(state: State, worker: str, kind: str = PROCESSOR) -> State:
    """A worker is being started: it counts among the spares to come, and has its device."""
    if worker in state.workers:
        return state
    state = _with_free(replace(state, born=state.born + 1), kind, -1)
    return state.with_worker(WorkerView(worker, kind, status=STARTING))


def adopting(state: State, action: events.Adopt) -> State:
    """A worker is being told to host a stage: from now on that takes room there, whatever becomes of it."""
    model = state.models.get(action.model)
    if model is None or action.worker not in state.workers:
        return state
    return state.with_model(replace(model, adopting={**model.adopting, (action.stage, action.worker): action.epoch}))


def adopted(state: State, action: events.Adopt) -> State:
    """That has come to an end, in whatever way."""
    model, key = state.models.get(action.model), (action.stage, action.worker)
    if model is None or model.adopting.get(key) != action.epoch:
        return state
    return state.with_model(replace(model, adopting={each: e for each, e in model.adopting.items() if each != key}))


def worker_ready(state: State, event: events.WorkerReady) -> State:
    """One that comes back when others have its work, and the spares are complete, has to leave: nobody has asked for more."""
    status = RETIRING if event.back and _complete(state) and event.kind == PROCESSOR else READY
    if event.name not in state.workers and not event.joined:  # else its device has been its own since it was started
        state = _with_free(state, event.kind, -1)
    elif event.joined and event.kind != PROCESSOR:
        state = replace(state, devices={event.kind: 0, **state.devices})
    view = WorkerView(
        event.name,
        event.kind,
        event.group,
        status,
        event.memory_bytes,
        event.cores,
        joined=event.joined,
        role=event.role,
        stays=event.stays,
    )
    state = relief.joined(replace(state, starts=STARTS), view, event.at_s)
    return _doubted(state, event.group, None).with_worker(view)


def _complete(state: State) -> bool:
    """Whether every model has its place, and all workers run that there are to be, or are being started."""
    return not any(model.failure for model in state.models.values()) and len(state.workers) >= state.complement


def worker_lost(state: State, event: events.WorkerLost) -> State:
    known = state.workers.get(event.name)
    if known is None:
        return state
    starts = max(0, state.starts - (known.status == STARTING))  # several may fail at the same time
    workers = {name: each for name, each in state.workers.items() if name != event.name}
    models = {name: _without(each, event.name) for name, each in state.models.items()}
    without = replace(state, workers=workers, models=models, starts=starts)
    without = relief.left(without, known, event.at_s) if known.joined else _with_free(without, known.kind, 1)
    if event.cause in (HOST_LOST, "hang"):  # nobody reaches it: that is no way between two that live
        without = reach.joined(without, known.group or event.name)
    if known.status != READY:  # nothing is lost; whoever waited for it goes on with the recovery that is under way
        return without
    after = rehomed(_doubted(without, known.group, event.at_s))
    recovery = Recovery(0, event.cause, event.name, event.began_s, event.at_s, (), (), group=known.group)
    if event.cause == HOST_LOST or _with_its_host(without, known, event):
        after, recovery = _of_host(after, known.group), _blamed(recovery)
    return recorded(state, after, recovery, event.at_s)


def _doubted(state: State, group: str, since_s: float | None) -> State:
    """The state in which whoever shares that host, if it is one, is taken over to last, or as anybody else again."""
    workers = {
        name: replace(each, doubted_s=since_s) if group and each.group == group else each
        for name, each in state.workers.items()
    }
    return replace(state, workers=workers)


def _with_its_host(without: State, known: WorkerView, event: events.WorkerLost) -> bool:
    """Whether the worker is the last of several on its host that are gone in one go."""
    alone = all(each.group != known.group for each in without.workers.values())
    together = known.doubted_s is not None and event.at_s - known.doubted_s <= TOGETHER_S
    return alone and together and event.cause in _TOLD_BY_SILENCE


def _of_host(state: State, group: str) -> State:
    """The state in which all losses there that are being made good are the host's."""
    recoveries = tuple(
        _blamed(each) if each.group == group and each.cause in _TOLD_BY_SILENCE else each for each in state.recoveries
    )
    return replace(state, recoveries=recoveries)


def _blamed(recovery: Recovery) -> Recovery:
    """The recovery as one of a loss that took the worker's host."""
    return replace(recovery, cause=HOST_LOST, target=recovery.group, detail=f"{recovery.lost} was on it")


def severed(state: State, event: events.Severed) -> State:
    """Both workers live and keep what they have, but for stages that would send to each other."""
    if not (state.living(event.name) and state.living(event.by)):
        return state
    after = rehomed(reach.severed(state, event.name, event.by, event.at_s))
    hosts = [f"{each} on {host}" if (host := state.workers[each].group) else each for each in (event.by, event.name)]
    detail = f"{hosts[0]} cannot reach {hosts[1]}"
    recovery = Recovery(0, SEVERED, event.name, event.began_s, event.at_s, (), (), detail=detail)
    return recorded(state, after, recovery, event.at_s)


def device_lost(state: State, event: events.DeviceLost) -> State:
    known = state.workers.get(event.name)
    if known is None or known.kind == PROCESSOR:
        return state
    after = rehomed(state.with_worker(replace(known, kind=PROCESSOR, cores=None, prepared=frozenset())))
    recovery = Recovery(0, event.cause, event.name, event.began_s, event.at_s, (), (), detail=event.detail)
    return recorded(state, after, recovery, event.at_s)


def device_mended(state: State, event: events.DeviceMended) -> State:
    """Nothing is to be done any more, but to write it down."""
    model = state.models.get(event.model)
    if model is None:
        return state
    recovery = Recovery(
        state.next_id,
        event.cause,
        event.name,
        event.began_s,
        event.at_s,
        (event.model,),
        (model.epoch,),
        replayed=event.replayed,
        restored=event.restored,
        target=f"{event.target} of {event.model}.{event.stage}",
        detail=event.detail,
        spans=event.spans,
        bytes_written=event.bytes_written,
    )
    return replace(state, finished=(*state.finished, recovery), next_id=state.next_id + 1)


def refused(state: State, event: events.Refused) -> State:
    """A worker that holds the stage in this epoch has refused it in another one, which is over."""
    model, worker = state.models.get(event.model), state.workers.get(event.worker)
    if model is None or worker is None or model.hosted.get((event.stage, event.worker)) == model.epoch:
        return state
    stage = next((each.original for each in model.plan.stages if each.name == event.stage), event.stage)
    state = state.with_worker(replace(worker, refused=worker.refused | {(event.model, stage)}))
    return rehomed(state, event.reason)


def returned(state: State, at_s: float, newcomer: str = "") -> State:
    """Models without a place are given one as soon as there is room; and go without as soon as none will come."""
    awake = [model for model in state.models.values() if not model.asleep]
    if not any(model.failure or strays(state, model) for model in awake):
        return state
    after = rehomed(state)
    back = tuple(name for name, model in after.models.items() if state.models[name].stopped and not model.failure)
    if back:
        return recorded(state, after, Recovery(0, RETURN, newcomer, at_s, at_s, (), ()), at_s)
    return _added(state, after)


def recorded(before: State, after: State, recovery: Recovery, at_s: float) -> State:
    """The state in which the recovery of whatever has moved is under way; as it is where nothing has."""
    moved = _moved(before, after)
    if not moved:
        return after
    models = [after.models[name] for name in moved]
    found = replace(
        recovery,
        id=after.next_id,
        models=tuple(moved),
        epochs=tuple(model.epoch for model in models),
        spare=", ".join(_heirs(before, models)),
        ended_s={"detect": recovery.detected_s} if not recovery.moved else {},
        substitutions=_substitutions(before, models),
    )
    after = replace(after, recoveries=(*after.recoveries, found), next_id=after.next_id + 1)
    return concluded(after, at_s)


def concluded(state: State, at_s: float) -> State:
    """Recoveries of which every model is settled are finished."""
    done = tuple(
        each
        for each in state.recoveries
        if all(name not in state.models or state.models[name].settled for name in each.models)
    )
    if not done:
        return state
    return replace(
        state,
        recoveries=tuple(each for each in state.recoveries if each not in done),
        finished=(*state.finished, *(replace(each, failures=_failures(state, each)) for each in done)),
    )


def _added(before: State, after: State) -> State:
    """What a recovery under way has come to: who takes over at last, and whatever was stopped for it."""
    moved = _moved(before, after)
    if not moved or not after.recoveries:
        return after
    *others, last = after.recoveries
    new = [after.models[name] for name in moved if all(name not in each.models for each in after.recoveries)]
    grown = replace(
        last,
        models=(*last.models, *(each.name for each in new)),
        epochs=(*last.epochs, *(each.epoch for each in new)),
        spare=last.spare or ", ".join(_heirs(before, [after.models[name] for name in moved])),
        substitutions=(*last.substitutions, *_substitutions(before, [after.models[name] for name in moved])),
    )
    return replace(after, recoveries=(*others, grown))


def _moved(before: State, after: State) -> list[str]:
    """The models that are in another epoch, and not because they begin."""
    return [
        name
        for name, each in before.models.items()
        if name in after.models and each.epoch != after.models[name].epoch and not (each.fresh or each.waking)
    ]


def _heirs(before: State, models: Sequence[ModelView]) -> list[str]:
    """The workers that have something of these models now which they had not before."""
    home: dict[tuple[str, str], set[str]] = {}
    for name, model in before.models.items():
        for stage in model.plan.stages:
            for each in stage.operators:
                home.setdefault((name, each), set()).add(stage.worker)
    found = (
        stage.worker
        for model in models
        for stage in model.plan.stages
        if not model.failure and any(stage.worker not in home[model.name, each] for each in stage.operators)
    )
    return list(dict.fromkeys(found))


def _substitutions(before: State, models: Sequence[ModelView]) -> tuple[Substitution, ...]:
    """The stages that an unlike engine runs from now on."""
    return tuple(
        Substitution(model.name, stage, planned, model.plan.engine_of(model.plan.stage(stage)))
        for model in models
        for stage, planned in model.substituted.items()
        if stage not in before.models[model.name].substituted
    )


def _failures(state: State, recovery: Recovery) -> tuple[str, ...]:
    models = (state.models[name] for name in recovery.models if name in state.models)
    return tuple(f"{model.name}: {model.failure}" for model in models if model.failure)


def _without(model: ModelView, worker: str) -> ModelView:
    """The model without what a lost worker held of it."""
    if not any(home == worker for _, home in (*model.hosted, *model.adopting)):
        return model
    return replace(
        model,
        hosted={key: epoch for key, epoch in model.hosted.items() if key[1] != worker},
        adopting={key: epoch for key, epoch in model.adopting.items() if key[1] != worker},
    )


def _with_free(state: State, kind: str, more: int) -> State:
    """One device more, or less, that no worker has."""
    if kind not in state.devices:
        return state
    return replace(state, devices={**state.devices, kind: state.devices[kind] + more})
