"""Planned moves: what is to be done next for an order. Pure, and level-triggered as `decide` is.

Orders are carried out one after the other, and only while nothing is being recovered. Stages are moved as after a loss, along
`Suspend`, `Adopt`, `Relink`, `Resume`, but their new workers build them first, while the old ones still answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from synfire.base.errors import TemporaryError, UnknownName
from synfire.control import events, relief, stage_replicas
from synfire.control.balance import balancing
from synfire.control.evenness import loads, remarks
from synfire.control.losses import recorded
from synfire.control.order import Order, OrderKind, Relocation
from synfire.control.placement import awaited, beside, device_of, heir, parted, relocated
from synfire.control.state import PROCESSOR, READY, RETIRING, SPARE, ModelView, Recovery, State, WorkerView
from synfire.plan.costs import format_bytes
from synfire.plan.plan import Stage
from synfire.plan.replicas import groups, others, without

OWN = "own-"
"""How the names of orders begin that nobody has given."""

_MARK = ".r"
"""What stands in a worker's name before its number, where it has taken another one's place on its machine."""

_LONGEST = 63
"""The longest name of a worker that joins, in characters."""


def check(state: State, kind: OrderKind, worker: str = "") -> None:
    """Raise for an order that cannot be: `UnknownName` for a worker that is not there, `TemporaryError` while it starts."""
    if kind != "drain":
        return
    if worker not in state.workers:
        raise UnknownName.among("worker", worker, state.workers)
    if state.workers[worker].status != READY:
        raise TemporaryError(f"worker {worker} is {state.workers[worker].status}; try again when it is ready")


def ordered(state: State, event: events.Ordered) -> State:
    """The order stands at the end of the queue."""
    leaving = {"drain": (event.worker,), "upgrade": _present(state), "rebalance": (), "scale": ()}[event.kind]
    remarks = tuple(_staying(state)) if event.kind == "upgrade" else ()
    order = Order(event.id, event.kind, event.at_s, leaving, remarks=remarks)
    return replace(state, orders=(*state.orders, order))


def answered(state: State, event: events.Answered) -> State:
    return replace(state, orders=tuple(each for each in state.orders if each.id != event.id))


def not_joined(state: State, event: events.NotJoined) -> State:
    """An order that waits for it has failed, and who was to be replaced stays."""
    for order in state.orders:
        if order.successor == event.name and not order.over:
            failure = f"worker {order.beside} cannot be replaced, and stays as it is: {event.reason}"
            state = _failed(state, order, failure, event.at_s)
    return state


def advanced(state: State, at_s: float) -> State:
    """The next step of the first order that is not over, as soon as all is calm."""
    while True:
        order = next((each for each in state.orders if not each.over), None)
        if order is None and relief.due(state, at_s) and state.quiet:
            spread = Order(f"{OWN}{state.next_id}-{at_s:.3f}", "rebalance", at_s)
            state = replace(relief.begun(state, at_s), orders=(*state.orders, spread))
            continue
        if order is None and state.quiet and stage_replicas.due(state):
            scale = Order(f"{OWN}{state.next_id}-{at_s:.3f}", "scale", at_s)
            state = replace(state, orders=(*state.orders, scale))
            continue
        if order is None or not state.quiet:
            return state
        after = _move(state, order, at_s) if order.underway else _STEPS[order.kind](state, order, at_s)
        if after is state:
            return state
        state = after


def _drain(state: State, order: Order, at_s: float) -> State:
    """Everything leaves the worker, then the worker leaves."""
    present = [name for name in order.leaving if name in state.workers]
    if not present:
        return _ended(state, order, at_s)
    (name,) = present
    if state.workers[name].status == RETIRING:
        return state
    if not state.load(name):
        return _retiring(state, order, name)
    return _cleared(state, order, name, at_s)


def _upgrade(state: State, order: Order, at_s: float) -> State:
    """One old worker after the other is replaced by a fresh one, which is there, and warm, before the old one goes: first those that are
    begun here, then those that have joined."""
    old = [name for name in order.leaving if name in state.workers]
    if not old:
        return _ended(state, order, at_s)
    if any(state.workers[name].status == RETIRING for name in old):
        return state
    own = [name for name in old if not state.workers[name].joined]
    return _replacing(state, order, own, at_s) if own else _succeeding(state, order, old, at_s)


def _replacing(state: State, order: Order, old: Sequence[str], at_s: float) -> State:
    """The next step for those that are begun here: there are always as many spares as are wanted."""
    if len(state.idle()) < state.spares:
        return _refilling(state, order, at_s)
    if empty := [name for name in old if state.workers[name].leaving and not state.load(name)]:
        return _retiring(state, order, empty[0])
    name = next((each for each in old if state.load(each)), old[0])
    fresh = _fresh(state, order, name)
    if not fresh or len(state.idle()) <= state.spares:
        return _needing(state, order, name, at_s)
    if any(state.unprepared(fresh[0])):
        return _with(state, order, needs="")
    if not state.load(name):
        return _retiring(state, order, name)
    return _cleared(state, order, name, at_s, but=[each for each in state.workers if each != fresh[0].name])


def _succeeding(state: State, order: Order, old: Sequence[str], at_s: float) -> State:
    """The next step for those that have joined: the fresh one is begun beside the old one, so there are never fewer than before."""
    name = order.beside if order.beside in old else next((each for each in old if state.load(each)), old[0])
    if name != order.beside:
        return _with(state, order, beside=name, successor=_successor(state, name))
    fresh = state.workers.get(order.successor)
    if fresh is None or fresh.status != READY or any(state.unprepared(fresh)):
        return state
    if not state.load(name):
        return _retiring(state, order, name)
    return _cleared(state, order, name, at_s, but=[each for each in state.workers if each != fresh.name], waits=False)


def _successor(state: State, name: str) -> str:
    """How the worker is called that takes the place of one that has joined: after it, with a number that no other has."""
    stem, mark, number = name.rpartition(_MARK)
    stem, number = (stem, number) if mark and number.isdecimal() else (name, "1")
    tails = (f"{_MARK}{n}" for n in itertools.count(int(number) + 1))
    return next(found for tail in tails if (found := stem[: _LONGEST - len(tail)] + tail) not in state.workers)


def _fresh(state: State, order: Order, name: str) -> list[WorkerView]:
    """The new workers that can do what an old one does, and have nothing to do yet."""
    wanted = {(model.name, stage.original) for model, stage in state.stages_on(name)}
    others = [each for each in state.idle() if each.name not in order.leaving and not each.joined]
    alike = [each for each in others if each.kind == state.workers[name].kind]
    return [each for each in alike if not each.refused & wanted]


def _rebalance(state: State, order: Order, at_s: float) -> State:
    """Spares are relieved by hosts. Then as many workers as at first share the stages evenly, as many as can be had, where these cannot; and those that have joined since
    and are not needed as spares."""
    if relieving := _relieving(state):
        return _with(state, order, needs="", underway=relieving)
    spares = {each.name for each in state.workers.values() if each.role == SPARE}
    serving = state.serving() - spares
    idle = [each for each in state.idle() if each.name not in spares]
    kept = max(0, state.spares - len(spares))
    surplus = max(0, len(idle) - kept)
    if len(serving) + surplus < state.in_service and (state.coming() or state.startable(PROCESSOR)):
        return _with(state, order, needs=PROCESSOR)
    idle = sorted(idle, key=lambda each: not each.joined)
    missing = max(0, state.in_service - len(serving))
    joining = [each.name for n, each in enumerate(idle[:surplus]) if each.joined or n < missing]
    among = (*sorted(serving), *joining)
    moves = balancing(state, among)
    if moves:
        return _with(state, order, needs="", underway=moves)
    even = _with(state, order, loads=tuple(loads(state, among).items()), remarks=tuple(remarks(state, among)))
    return _ended(even, next(each for each in even.orders if each.id == order.id), at_s)


def _scale(state: State, order: Order, at_s: float) -> State:
    """One stage after the other gets the replicas that it is to have. Workers that were begun for this, and have nothing to do then, go."""
    if way := stage_replicas.next_way(state):
        return _with(state, order, needs="", underway=(way,))
    if kind := stage_replicas.needed(state):
        return _with(replace(state, more=True) if not state.more else state, order, needs=kind)
    if state.begins and state.coming() and len(state.workers) > state.complement:
        return state
    left = stage_replicas.surplus(state)
    return _retiring(state, order, left) if left else _ended(state, order, at_s)


def _relieving(state: State) -> tuple[Relocation, ...]:
    """The moves by which those that are meant as spares are rid of what they took over: to hosts that have nothing to do; where no spare
    is left to any that have room."""
    spares = [each.name for each in state.workers.values() if each.role == SPARE]
    busy = [*spares, *(each for each in state.workers if state.load(each))]
    left = any(each.role == SPARE for each in state.idle())
    moves: list[Relocation] = []
    for spare in [each for each in spares if state.load(each)]:
        for model, stages in _by_model(state, spare):
            shifted = _shifted(state, moves)
            replicas = beside(shifted, shifted.models[model.name])
            found = _ways(shifted, model.name, stages, (*busy, *(each.target for each in moves), *replicas))
            if found is None and not left:
                found = _ways(shifted, model.name, stages, (*spares, *replicas))
            moves += found or ()
    return tuple(moves)


_STEPS: dict[OrderKind, Callable[[State, Order, float], State]] = {
    "drain": _drain,
    "upgrade": _upgrade,
    "rebalance": _rebalance,
    "scale": _scale,
}


def _cleared(state: State, order: Order, name: str, at_s: float, but: Sequence[str] = (), waits: bool = True) -> State:
    """Everything that a worker holds is on its way to others; or they are awaited, where the order `waits` for any; or it has failed."""
    worker = state.workers[name]
    state = state.with_worker(replace(worker, leaving=True)) if not worker.leaving else state
    trial, moves = state, []
    for model, stages in _by_model(state, name):
        away, kind = (name, *but), device_of(state, model.plan, stages)
        found = _ways(trial, model.name, stages, (*away, *beside(trial, model)))
        if found is None and waits and awaited(state, model, stages, kind):
            return _with(state, order, needs=kind)
        found = found or _ways(trial, model.name, stages, away)
        found = found or _ways(trial, model.name, stages, away, splitting=True)
        if found is None and (spared := _spared(state, model, stages)):
            return _done_without(state, order, model, spared, at_s)
        if found is None:
            largest = max(stages, key=lambda each: each.memory_bytes)
            return _failed(state, order, _no_room(model, largest, name, _device(state, kind)), at_s)
        moves += found
        trial = _shifted(trial, found)
    return _with(state, order, needs="", underway=tuple(moves))


def _spared(state: State, model: ModelView, stages: Sequence[Stage]) -> tuple[Relocation, ...]:
    """The ways of the stages of which there are other replicas: these have their work, too, from then on."""
    ways = ((each, others(model.plan, (each,))) for each in stages)
    return tuple(Relocation(model.name, each.name, each.worker, left[0].worker) for each, left in ways if left)


def _done_without(state: State, order: Order, model: ModelView, spared: tuple[Relocation, ...], at_s: float) -> State:
    """The state in which these replicas are no more; the rest of the order is done afterwards."""
    plan = without(model.plan, {each.stage for each in spared})
    fewer = state.with_model(replace(model, plan=plan, epoch=state.epoch_after(model)))
    after = _with(fewer, order, underway=(), moved=(*order.moved, *spared))
    return recorded(state, after, Recovery(0, order.kind, spared[0].source, at_s, at_s, (), (), moved=spared), at_s)


def _refilling(state: State, order: Order, at_s: float) -> State:
    """Spares were lost meanwhile: until there are others nobody goes who could take over."""
    if state.coming() or state.startable(PROCESSOR):
        return state
    return _failed(
        state, order, "the upgrade has ended: spares were lost, and none can be started in their place", at_s
    )


def _ways(
    state: State, name: str, stages: tuple[Stage, ...], but: Sequence[str], splitting: bool = False
) -> list[Relocation] | None:
    """Where a worker's stages of one model go: all to one worker, or each to its own, or, if it may be split, its parts to several;
    None when there is no room."""
    together = heir(state, state.models[name], stages, but, beforehand=True)
    if together:
        return [Relocation(name, stage.name, stage.worker, together) for stage in stages]
    found: list[Relocation] = []
    for stage in sorted(stages, key=lambda each: -each.memory_bytes):
        shifted = _shifted(state, found)
        model = shifted.models[name]
        target = heir(shifted, model, (stage,), but, beforehand=True)
        ways = [Relocation(name, stage.name, stage.worker, target)] if target else []
        if not ways and splitting:
            ways = _ways_of_parts(stage, name, parted(shifted, model, stage, but))
        if not ways:
            return None
        found += ways
    return found


def _ways_of_parts(stage: Stage, model: str, homes: Sequence[str]) -> list[Relocation]:
    """The ways of a stage's parts to their workers; none where these have none."""
    return [
        Relocation(model, stage.name, stage.worker, target, parts=going)
        for target in dict.fromkeys(homes)
        for going in (tuple(part.name for part, home in zip(stage.parts, homes, strict=True) if home == target),)
    ]


def _move(state: State, order: Order, at_s: float) -> State:
    """Move what is under way as soon as its targets have built it; look for other ways when one of them is gone."""
    if not possible(state, order.underway):
        return _with(state, order, underway=())
    if any(unbuilt(state, order.underway)):
        return state
    moves = order.underway
    after = _with(_shifted(state, moves, fenced=True), order, underway=(), moved=(*order.moved, *moves))
    sources = ", ".join(dict.fromkeys(each.source for each in moves))
    scaled = ", ".join(
        dict.fromkeys(f"{each.model}.{each.stage}" for each in moves if not (each.source and each.target))
    )
    move = Recovery(0, order.kind, sources, at_s, at_s, (), (), moved=moves, target=scaled)
    return recorded(state, after, move, at_s)


def unbuilt(state: State, moves: Sequence[Relocation]) -> Iterator[tuple[ModelView, Stage]]:
    """The stages that these moves bring about, with their models, which have still to be built where they will be.

    Also what is left of a stage that is split, where that stays. For another engine a stage is built when it is adopted.
    """
    after = _shifted(state, moves)
    returning = {(each.model, each.stage) for each in moves if each.engine}
    for name in dict.fromkeys(each.model for each in moves):
        model = state.models[name]
        for stage in after.models[name].placed:
            prepared = (name, stage.original) in state.workers[stage.worker].prepared
            prepared = prepared or (name, stage.name) in returning
            if not prepared and (stage.name, stage.worker) not in model.hosted:
                yield model, stage


def possible(state: State, moves: Sequence[Relocation]) -> bool:
    """Whether every stage is still where it is to leave from, and has room where it is to go."""
    for (name, what), ways in _by_stage(moves).items():
        model = state.models.get(name)
        stages = () if model is None or model.failure else model.placed
        stage = next((each for each in stages if each.name == what), None)
        if model is None or stage is None or not all(_open(state, model, stage, each) for each in ways):
            return False
        state = _shifted(state, ways)
    return all(_apart(state.models[name]) for name in dict.fromkeys(each.model for each in moves))


def _apart(model: ModelView) -> bool:
    """Whether no two replicas of a stage share a worker: several may move at a time, so that counts when all have."""
    return all(len({each.worker for each in group}) == len(group) for group in groups(model.plan))


def _by_stage(moves: Sequence[Relocation]) -> dict[tuple[str, str], list[Relocation]]:
    """The ways of each stage: several where its parts go to several workers."""
    found: dict[tuple[str, str], list[Relocation]] = {}
    for each in moves:
        found.setdefault((each.model, each.stage), []).append(each)
    return found


def _open(state: State, model: ModelView, stage: Stage, way: Relocation) -> bool:
    """Whether the stage, or what of it is to go, can go that way now."""
    if not way.target:
        return stage.worker == way.source and bool(others(model.plan, (stage,)))
    target = state.workers.get(way.target)
    if target is None or target.status != READY or target.leaving or stage.worker != (way.source or stage.worker):
        return False
    going = tuple(each for each in stage.parts if each.name in way.parts) if way.parts else (stage,)
    fits = state.fits(way.target, model.plan, going, way.engine) or (stage.name, way.target) in model.hosted
    runs = state.runs(target, way.engine or model.plan.engine_of(stage))
    return fits and runs and (model.name, stage.original) not in target.refused


def _shifted(state: State, moves: Sequence[Relocation], fenced: bool = False) -> State:
    """The state with stages wanted elsewhere, their models in a new epoch if `fenced`."""
    for name in dict.fromkeys(each.model for each in moves):
        mine = [each for each in moves if each.model == name]
        back = {each.stage: each.target for each in mine if each.engine}
        model = relocated(state.models[name], mine)
        hosted = {key: epoch for key, epoch in model.hosted.items() if key not in back.items()}
        kept = {stage: planned for stage, planned in model.substituted.items() if stage not in back}
        epoch = state.epoch_after(model) if fenced else model.epoch
        state = _for_device(state, model, back)
        state = state.with_model(replace(model, epoch=epoch, hosted=hosted, substituted=kept))
    return state


def _for_device(state: State, model: ModelView, back: Mapping[str, str]) -> State:
    """The state in which workers to which stages go back, by these, have nothing of them built: that was for the engine in between."""
    for stage, target in back.items():
        if worker := state.workers.get(target):
            built = (model.name, model.plan.stage(stage).original)
            state = state.with_worker(replace(worker, prepared=worker.prepared - {built}))
    return state


def _by_model(state: State, worker: str) -> list[tuple[ModelView, tuple[Stage, ...]]]:
    """What a worker holds, model by model, the most important first."""
    found = [(model, tuple(s for s in model.placed if s.worker == worker)) for model in state.by_priority()]
    return [(model, stages) for model, stages in found if stages and not model.stopped]


def _needing(state: State, order: Order, name: str, at_s: float) -> State:
    """A worker has to be started in place of an old one; or the order has failed."""
    kind = state.workers[name].kind
    comes = any(each.kind == kind for each in state.coming()) or state.startable(kind)
    if comes and all(awaited(state, model, stages, kind) for model, stages in _by_model(state, name)):
        return _with(state, order, needs=kind)
    failure = f"worker {name} cannot be replaced: no worker{_device(state, kind)} can be started beside those that run"
    return _failed(state, order, failure, at_s)


def _device(state: State, kind: str) -> str:
    return f" with a {kind}" if kind in state.devices else ""


def _no_room(model: ModelView, stage: Stage, worker: str, device: str) -> str:
    bytes_, cores = (
        format_bytes(stage.memory_bytes) if stage.memory_bytes else "",
        str(model.plan.need(stage) or "") if device else "",
    )
    need = f", which needs {' and '.join(filter(None, (bytes_, cores)))}" if bytes_ or cores else ""
    return (
        f"worker {worker} cannot be drained: no other worker{device} can host {model.name}.{stage.name}{need}, and none that could "
        "can be started; add a spare, or allow workers more memory"
    )


def _retiring(state: State, order: Order, name: str) -> State:
    worker = replace(state.workers[name], status=RETIRING, leaving=True)
    return _with(state.with_worker(worker), order, needs="", beside="", successor="", retired=(*order.retired, name))


def _failed(state: State, order: Order, failure: str, at_s: float) -> State:
    """The order is over. What it has moved stays; a worker that should have left stays, too, and who was to take its place leaves."""
    for name in order.leaving:
        worker = state.workers.get(name)
        if worker is not None and worker.status == READY and worker.leaving:
            state = state.with_worker(replace(worker, leaving=False))
    fresh = state.workers.get(order.successor)
    if fresh is not None and fresh.status == READY and not state.load(fresh.name):
        state = state.with_worker(replace(fresh, status=RETIRING, leaving=True))
    return _with(state, order, failure=failure, ended_s=at_s, needs="")


def _ended(state: State, order: Order, at_s: float) -> State:
    return _with(state, order, ended_s=at_s, needs="")


def _present(state: State) -> tuple[str, ...]:
    return tuple(each.name for each in state.workers.values() if each.status == READY and not each.stays)


def _staying(state: State) -> Iterator[str]:
    """What is told of workers that an upgrade does not replace."""
    for each in state.workers.values():
        if each.status == READY and each.stays:
            yield f"worker {each.name} stays as it is: {each.stays}"


def _with(state: State, order: Order, **changes: object) -> State:
    """The state with the order changed; the same one where nothing of it is."""
    changed = replace(order, **changes)  # type: ignore[arg-type]
    if changed == order:
        return state
    return replace(state, orders=tuple(changed if each.id == order.id else each for each in state.orders))
