"""`decide(state) → actions`: what is to be done now. Pure and level-triggered: whatever is not yet so, is asked for again."""

from __future__ import annotations

from collections.abc import Iterator

from synfire.control.events import (
    Action,
    Adopt,
    Answer,
    Drop,
    GiveUp,
    Keep,
    Prepare,
    Relink,
    Renew,
    Resume,
    Retire,
    Start,
    Suspend,
)
from synfire.control.moves import possible, unbuilt
from synfire.control.state import PROCESSOR, RETIRING, ModelView, State


def decide(state: State) -> tuple[Action, ...]:
    """Every action that would bring the running things nearer to what is wanted, the most urgent first."""
    urgent = [action for model in state.by_priority() for action in _for_model(state, model)]
    urgent.sort(key=lambda action: not isinstance(action, Suspend))  # fence everything before anything moves
    return (*urgent, *_for_spares(state), *_for_orders(state), *(Keep(each.id) for each in state.finished))


def _for_model(state: State, model: ModelView) -> Iterator[Action]:
    fenced = model.suspended == model.epoch
    if fenced or model.told:
        yield from _drops(model)
    if model.settled:
        return
    if not fenced:
        yield Suspend(model.name, model.epoch)
    if model.failure and not model.asleep:
        if fenced and not model.waits:
            yield GiveUp(model.name, model.failure)
    elif not model.linked:
        yield from _moves(state, model)
    elif fenced and not model.sleeps:
        yield Resume(model.name, model.epoch)


def _moves(state: State, model: ModelView) -> Iterator[Action]:
    """Stages go to their new workers, or into the epoch where they stay."""
    staying: dict[str, tuple[str, ...]] = {}
    for stage in model.placed:
        if model.holds(stage):
            continue
        if (stage.name, stage.worker) in model.hosted:
            staying[stage.worker] = (*staying.get(stage.worker, ()), stage.name)
        elif _vacant(state, stage.worker):
            prepared = (model.name, stage.original) in state.workers[stage.worker].prepared
            yield Adopt(model.name, stage.name, stage.worker, model.epoch, prepared)
    for worker, stages in staying.items():
        yield Relink(model.name, worker, stages, model.epoch)


def _vacant(state: State, worker: str) -> bool:
    """Whether what has no place any more has left a worker whose room is counted."""
    view = state.workers[worker]
    if view.memory_bytes is None and view.cores is None:
        return True
    return worker not in state.encumbered


def _drops(model: ModelView) -> Iterator[Drop]:
    """Workers hold nothing that is of no use there."""
    gone: dict[str, tuple[str, ...]] = {}
    for stage, worker in model.leftover:
        gone[worker] = (*gone.get(worker, ()), stage)
    for worker, stages in gone.items():
        yield Drop(model.name, worker, stages)


def _for_spares(state: State) -> Iterator[Action]:
    """Keep the pool full, and its members warm, while nothing more urgent is under way; start a worker for who waits for one."""
    awaited = {model.waits for model in state.models.values()}
    awaited |= {order.needs for order in state.orders if state.quiet and not order.over}
    awaited -= {""}
    if not state.calm and not awaited:
        return
    coming, anew = state.coming(), any(each.kind == "upgrade" and not each.over for each in state.orders)
    yield from (Start(each.name, each.kind, anew) for each in coming)
    missing = sorted(awaited - {each.kind for each in coming})
    missing += [state.spare_kind] * (state.spares - len(state.idle()) - len(coming) - len(missing))
    yield from (Start(f"spare-{state.born + n}", kind, anew) for n, kind in enumerate(_to_be_had(state, missing)))
    for spare in state.idle() if state.calm else ():
        model, stage = next(state.unprepared(spare), (None, None))
        if model is not None and stage is not None:
            yield Prepare(model.name, stage.name, spare.name, state.engine_on(spare, model, stage), stage.operators)


def _to_be_had(state: State, kinds: list[str]) -> Iterator[str]:
    """The kinds of workers that can be started, of those that are wanted; without a device where none is left."""
    free = dict(state.devices)
    vacant = len(kinds) if state.most_workers is None else max(0, state.most_workers - len(state.workers))
    for wanted in kinds[:vacant] if state.starts and state.begins else ():
        kind = wanted if free.get(wanted, 1) > 0 else PROCESSOR
        if kind in free:
            free[kind] -= 1
        yield kind


def _for_orders(state: State) -> Iterator[Action]:
    """Have stages built where they are to go, begin who takes another's place, end whom nothing is left to do, and tell who asked."""
    for order in state.orders:
        if order.over:
            yield Answer(order.id)
        elif order.successor and state.quiet and not state.living(order.successor):
            yield Renew(order.beside, order.successor)
        ways = order.underway if state.calm and possible(state, order.underway) else ()
        for model, stage in unbuilt(state, ways):
            yield Prepare(model.name, stage.original, stage.worker, model.plan.engine_of(stage), stage.operators)
    yield from (Retire(each.name) for each in state.workers.values() if each.status == RETIRING)
