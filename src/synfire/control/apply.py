"""`apply(state, event) → state`: what is known after an event. Pure, and deaf to what is over.

Each event has a rule. What follows from the state as a whole, whatever has happened, comes after it: models without a place
are given one as soon as there is room (`losses`), and orders are carried a step further (`moves`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from synfire.control import events
from synfire.control.events import Event
from synfire.control.losses import (
    concluded,
    device_lost,
    device_mended,
    refused,
    returned,
    severed,
    worker_lost,
    worker_ready,
)
from synfire.control.moves import advanced, answered, not_joined, ordered
from synfire.control.reach import lapsed
from synfire.control.state import PROCESSOR, RETIRING, ModelView, Recovery, State
from synfire.plan.replicas import ranged, without


def apply(state: State, event: Event) -> State:
    """The next state. An event of an older epoch, or about what is gone, changes nothing."""
    newcomer = event.name if isinstance(event, events.WorkerReady) else ""
    return advanced(returned(_RULES[type(event)](state, event), event.at_s, newcomer), event.at_s)


def _model_added(state: State, event: events.ModelAdded) -> State:
    hosted = {} if event.fresh else {(stage.name, stage.worker): 0 for stage in event.plan.stages}
    added = ModelView(
        event.plan,
        0,
        event.priority,
        hosted,
        substituted=event.substituted,
        on_demand=event.on_demand,
        fresh=event.fresh,
    )
    devices = {**dict.fromkeys(sorted(event.kinds), 0), **state.devices}
    state = _forgotten(replace(state, devices=devices), event.plan.model).with_model(added)
    return state if event.on_demand else replace(state, in_service=max(state.in_service, len(state.serving())))


def _model_removed(state: State, event: events.ModelRemoved) -> State:
    models = {name: each for name, each in state.models.items() if name != event.model}
    return concluded(_forgotten(replace(state, models=models), event.model), event.at_s)


def _ranked(state: State, event: events.Ranked) -> State:
    model = state.models.get(event.model)
    return state if model is None else state.with_model(replace(model, priority=event.priority))


def _slept(state: State, event: events.Slept) -> State:
    """One that wakes is placed as one that begins. One that was stopped stays so, until there is room for it."""
    model = state.models.get(event.model)
    if model is None or model.asleep == event.asleep or (event.asleep and model.failure):
        return state
    if event.asleep:
        slept = replace(model, asleep=True, resting=frozenset(), waking=frozenset(), epoch=state.epoch_after(model))
        return state.with_model(slept)
    woken = replace(model, asleep=False, fresh=True, failure="it is being woken", waits=PROCESSOR, told=False)
    return state.with_model(woken)


def _rested(state: State, event: events.Rested) -> State:
    """One stage is left of those that had replicas. Those that wake are placed as what was lost. Nothing goes to sleep before its model is settled:
    what is under way comes to its end."""
    model = state.models.get(event.model)
    if model is None or model.asleep or model.fresh:
        return state
    awake = model.settled and not model.failure
    wanted = event.stages & ({each.original for each in model.plan.stages} if awake else model.resting)
    slept, woken = wanted - model.resting, model.resting - wanted
    if slept:
        more = {each.name for each in model.plan.stages if each.replica_of in slept}
        model = replace(
            model,
            plan=without(model.plan, more),
            epoch=state.epoch_after(model),
            replicas={**model.replicas, **{name: 1 for name in slept if name in model.replicas}},
        )
    if woken:
        model = replace(model, waking=model.waking | woken)
        if not model.failure:
            model = replace(model, failure="it is being woken", waits=PROCESSOR, told=False)
    return state.with_model(replace(model, resting=wanted)) if slept or woken else state


def _pressed(state: State, event: events.Pressed) -> State:
    """What comes of it is a planned move."""
    model = state.models.get(event.model)
    if model is None or model.replicas.get(event.stage) == event.replicas:
        return state
    return state.with_model(replace(model, replicas={**model.replicas, event.stage: event.replicas}))


def _ranged(state: State, event: events.Ranged) -> State:
    """What comes of it are planned moves."""
    model = state.models.get(event.model)
    if model is None:
        return state
    single = {each.original: 1 for each in model.plan.stages if each.replica_of and each.original not in event.ranges}
    plan = ranged(model.plan, event.ranges)
    return state.with_model(replace(model, plan=plan, replicas={**model.replicas, **single}))


def _dismissed(state: State, event: events.Dismissed) -> State:
    """It leaves, unless it is one of the spares that are wanted."""
    idle = state.idle()
    one = next((each for each in idle if each.name == event.name), None)
    if one is None or one.joined or len(idle) <= state.spares:
        return state
    return state.with_worker(replace(one, status=RETIRING, leaving=True))


def _forgotten(state: State, model: str) -> State:
    """The state in which no worker has built, or refused, anything of a model: another one may go by its name."""
    workers = {
        name: replace(each, prepared=_but(model, each.prepared), refused=_but(model, each.refused))
        for name, each in state.workers.items()
    }
    return replace(state, workers=workers)


def _but(model: str, stages: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset(each for each in stages if each[0] != model)


def _epoch_seen(state: State, event: events.EpochSeen) -> State:
    """What is wanted has to be newer than anything that somebody was told."""
    model = state.models.get(event.model)
    if model is None or event.epoch <= model.epoch:
        return state
    seen = replace(model, epoch=event.epoch, told=False)
    return state.with_model(replace(seen, epoch=state.epoch_after(seen)))


def _suspended(state: State, event: events.Suspended) -> State:
    model = state.models.get(event.model)
    if model is None or event.epoch != model.epoch:
        return state
    return concluded(_ended(state.with_model(replace(model, suspended=event.epoch)), event, "fence"), event.at_s)


def _adopted(state: State, event: events.Adopted) -> State:
    after = _hosted(state, event.model, (event.stage,), event.worker, event.epoch)
    if not _is_current(after, event.model, event.epoch):
        return after
    after = _ended(_ended(after, replace(event, at_s=event.at_s - event.proof_s), "adopt"), event, "verify")
    return concluded(after if event.agreement is None else _agreed(after, event), event.at_s)


def _agreed(state: State, event: events.Adopted) -> State:
    """How far the answers of an unlike engine agree with those of the planned one."""
    recoveries = tuple(
        replace(
            each,
            substitutions=tuple(
                replace(unlike, agreement=event.agreement)
                if (unlike.model, unlike.stage) == (event.model, event.stage)
                else unlike
                for unlike in each.substitutions
            ),
        )
        for each in state.recoveries
    )
    return replace(state, recoveries=recoveries)


def _relinked(state: State, event: events.Relinked) -> State:
    after = _hosted(state, event.model, event.stages, event.worker, event.epoch)
    if not _is_current(after, event.model, event.epoch):
        return after
    return concluded(_ended(after, event, "relink"), event.at_s)


def _hosted(state: State, name: str, stages: tuple[str, ...], worker: str, epoch: int) -> State:
    """A worker holds these stages in an epoch, be it over: what is there can be relinked, or has to be dropped.

    Not where the worker is being told to host them once more: what it holds then is about to be replaced.
    """
    model = state.models.get(name)
    if model is None or worker not in state.workers:
        return state
    known = [stage for stage in stages if epoch == model.epoch or (stage, worker) not in model.adopting]
    found = {(stage, worker): max(epoch, model.hosted.get((stage, worker), epoch)) for stage in known}
    return state.with_model(replace(model, hosted={**model.hosted, **found})) if found else state


def _dropped(state: State, event: events.Dropped) -> State:
    model = state.models.get(event.model)
    if model is None:
        return state
    gone = {(stage, event.worker) for stage in event.stages}
    return state.with_model(replace(model, hosted={k: epoch for k, epoch in model.hosted.items() if k not in gone}))


def _resumed(state: State, event: events.Resumed) -> State:
    model = state.models.get(event.model)
    if model is None or event.epoch != model.epoch:
        return state
    state = state.with_model(replace(model, routed=event.epoch))
    counted = tuple(_again(each, event) if event.model in each.models else each for each in state.recoveries)
    return concluded(replace(state, recoveries=counted), event.at_s)


def _again(recovery: Recovery, event: events.Resumed) -> Recovery:
    """What goes on again is counted. Restoring is a step where there are sessions; it ends with replaying."""
    restored = recovery.restored + event.restored
    steps = ("restore", "replay") if restored else ("replay",)
    ended_s = {**recovery.ended_s, **dict.fromkeys(steps, event.at_s)}
    return replace(recovery, replayed=recovery.replayed + event.replayed, restored=restored, ended_s=ended_s)


def _given_up(state: State, event: events.GivenUp) -> State:
    model = state.models.get(event.model)
    if model is None or model.failure != event.reason:
        return state
    return concluded(state.with_model(replace(model, told=True)), event.at_s)


def _prepared(state: State, event: events.PreparedOn) -> State:
    worker = state.workers.get(event.worker)
    if worker is None:
        return state
    return state.with_worker(replace(worker, prepared=worker.prepared | {(event.model, event.stage)}))


def _kept(state: State, event: events.Kept) -> State:
    return replace(state, finished=tuple(each for each in state.finished if each.id != event.id))


def _is_current(state: State, model: str, epoch: int) -> bool:
    return model in state.models and state.models[model].epoch == epoch


def _ended(state: State, event: Any, step: str) -> State:
    """A step has ended for one model: for a recovery it ends when it has for the last of its models."""
    recoveries = tuple(
        replace(each, ended_s={**each.ended_s, step: event.at_s}) if event.model in each.models else each
        for each in state.recoveries
    )
    return replace(state, recoveries=recoveries)


_RULES: dict[type[Event], Callable[[State, Any], State]] = {
    events.WorkerReady: worker_ready,
    events.Retry: lambda state, event: replace(lapsed(state, event.at_s), starts=max(1, state.starts)),
    events.WorkerLost: worker_lost,
    events.Severed: severed,
    events.DeviceLost: device_lost,
    events.DeviceMended: device_mended,
    events.ModelAdded: _model_added,
    events.ModelRemoved: _model_removed,
    events.Ranked: _ranked,
    events.Slept: _slept,
    events.Rested: _rested,
    events.Pressed: _pressed,
    events.Ranged: _ranged,
    events.Dismissed: _dismissed,
    events.EpochSeen: _epoch_seen,
    events.Suspended: _suspended,
    events.Adopted: _adopted,
    events.Relinked: _relinked,
    events.Resumed: _resumed,
    events.GivenUp: _given_up,
    events.PreparedOn: _prepared,
    events.Refused: refused,
    events.Dropped: _dropped,
    events.Ordered: ordered,
    events.NotJoined: not_joined,
    events.Answered: answered,
    events.Kept: _kept,
    events.Nothing: lambda state, _: state,
}
