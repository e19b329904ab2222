"""Who takes over what has lost its place, and which models have to go when there is no room. Pure.

Stages go, in this order: to a worker that has their device and room for them, spares first; in parts to several, where they are
joined of neighbours in the cut and nobody has room for all of them; to a worker that can be started; to
the processor of a worker without the device; into the room of models of a lower priority, of which the lowest go first, and
none in vain. A model that finds nothing of all that is stopped, until there is room again. A
replica of a stage that has others goes to a worker that has nothing to do; where there is none, the plan does without it.

Where all workers are begun by others, it waits for one to join instead, and so does a model that is fresh: each place of its plan is
to be another worker, none of them a spare.

Stages that sleep have no place, and keep none from others; those that wake are placed as if they were lost, but on no other device.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from synfire.control.order import Relocation
from synfire.control.reach import astray, place, suits
from synfire.control.state import PROCESSOR, READY, SPARE, STARTS, ModelView, State, WorkerView, cores_on
from synfire.devices.cores import NO_CORES, Cores, most
from synfire.plan import Plan
from synfire.plan.costs import format_bytes
from synfire.plan.parts import split
from synfire.plan.plan import Stage
from synfire.plan.replicas import groups, grown, others, without
from synfire.store.names import of_replica

_NAMED = 8
"""So many workers are named, at most, where one tells what cores there are."""

NOBODY, LATER = "", "?"
"""The worker of a stage that has no place, and of parts whose turn comes later."""


def rehomed(state: State, refusal: str = "") -> State:
    """Every model whose stages have lost their workers, or that has no place, placed again; the most important first.

    `refusal` is why a worker would not host a stage, if that is why this is asked for.
    """
    for name in [each.name for each in state.by_priority()]:
        model = state.models[name]
        if not model.asleep and (model.failure or strays(state, model)):
            state = _placed(state, model, refusal)
    return state


def strays(state: State, model: ModelView) -> tuple[Stage, ...]:
    """The stages that need another place: all of a stopped model, else those that wake, or whose worker, or its device, is gone, or does not
    reach what they are linked with. Those that sleep need none."""
    wanted = (stage for stage in model.plan.stages if stage.original not in model.resting)
    return tuple(each for each in wanted if model.stopped or not _at_home(state, model, each))


def heir(
    state: State,
    model: ModelView,
    stages: Sequence[Stage],
    but: Collection[str] = (),
    unlike: bool = False,
    beforehand: bool = False,
) -> str:
    """Who may host these stages together: of those who have room the least loaded, and who has built the most of them.

    Nobody of `but`, and only workers with the right device unless `unlike` ones will do. A worker that is leaving, or whose
    host may be lost, comes last, the one where they are first. Where stages are evened out by themselves, who has built all of them
    comes before who has still to do so while calls wait, unless that is done `beforehand`. Empty for nobody.
    """
    wanted = {(model.name, stage.original) for stage in stages}
    home = {stage.worker for stage in stages}
    order = sorted(
        (each for each in _able(state, model, stages, unlike) if each.name not in but),
        key=lambda each: (
            each.leaving,
            each.doubtful,
            each.name not in home,
            not (state.begins or beforehand or wanted <= each.prepared),
            *_burden(state, each.name),
            -len(each.prepared & wanted),
            each.role != SPARE,
            each.name,
        ),
    )
    return order[0].name if order else NOBODY


def beside(state: State, model: ModelView) -> tuple[str, ...]:
    """The workers that other replicas of the model are wanted on: as long as others can be had, one loss is not to cost two of them."""
    whole = of_replica(model.name)
    if whole == model.name:
        return ()
    others = [each for each in state.models.values() if each.name != model.name and of_replica(each.name) == whole]
    return tuple(dict.fromkeys(stage.worker for each in others for stage in each.placed))


def parted(
    state: State, model: ModelView, stage: Stage, but: Collection[str] = (), unlike: bool = False
) -> tuple[str, ...]:
    """Who may host the parts of a stage, one for each: in order, where the part before went as long as there is room, so that few
    links cross; else as `heir` says. Empty where one finds nobody, and for a stage that has replicas, which goes as a whole."""
    if others(model.plan, (stage,)):
        return ()
    homes: list[str] = []
    for n, part in enumerate(stage.parts, 1):
        trial = divided(model, stage.name, [*homes, NOBODY, *[LATER] * (len(stage.parts) - n)])
        asked, one = state.with_model(trial), (trial.plan.stage(part.name),)
        able = [each.name for each in _able(asked, trial, one, unlike)]
        home = homes[-1] if homes and homes[-1] in able else heir(asked, trial, one, but, unlike)
        if not home:
            return ()
        homes.append(home)
    return tuple(homes)


def divided(model: ModelView, name: str, homes: Sequence[str]) -> ModelView:
    """The model with a stage split again, its parts on these workers; what an unlike engine ran it still runs."""
    plan, operators = split(model.plan, name, homes), set(model.plan.stage(name).operators)
    substituted = dict(model.substituted)
    if planned := substituted.pop(name, ""):
        substituted |= {each.name: planned for each in plan.stages if operators.issuperset(each.operators)}
    return replace(model, plan=plan, substituted=substituted)


def relocated(model: ModelView, ways: Sequence[Relocation]) -> ModelView:
    """The model with stages, or parts of them, wanted elsewhere; or with a replica more of some, or less."""
    for each in ways:
        if not each.source:
            model = replace(model, plan=grown(model.plan, each.stage, each.target))
        elif not each.target:
            model = replace(model, plan=without(model.plan, (each.stage,)))
    whole = (_elsewhere(model.plan, each) for each in ways if each.source and each.target and not each.parts)
    model = replace(model, plan=with_stages(model.plan, whole))
    for each in ways:
        if each.source and each.target and not any(stage.worker == each.source for stage in model.placed):
            model = _followed(model, each.source, each.target)
    for name in dict.fromkeys(each.stage for each in ways if each.parts):
        stage = model.plan.stage(name)
        going = {part: each.target for each in ways if each.stage == name for part in each.parts}
        model = divided(model, name, [going.get(part.name, stage.worker) for part in stage.parts])
    return model


def awaited(state: State, model: ModelView, stages: Sequence[Stage], kind: str) -> bool:
    """Whether a worker of a kind comes, or can be started, that may take the largest of these stages."""
    wanted = {(model.name, stage.original) for stage in stages}
    if sum(bool(each.refused & wanted) for each in state.workers.values()) >= STARTS:
        return False
    if sum(not suits(state, model.plan, stages, each.name) for each in state.idle()) >= STARTS:
        return False
    need = max((stage.memory_bytes for stage in stages), default=0)
    cores = most(cores_on(kind, model.plan, (stage,)) for stage in stages)
    return any(each.kind == kind for each in state.coming()) or state.startable(kind, need, cores)


def why_none_starts(state: State, kind: str, need_bytes: int = 0, need: Cores = NO_CORES) -> str:
    """Why no worker of a kind, with that much room and that many cores of its device, can be started; empty where one can."""
    if state.startable(kind, need_bytes, need):
        return ""
    if state.devices.get(kind, 1) <= 0:
        return f"no {kind} is free for another worker"
    if state.most_workers is not None and len(state.workers) >= state.most_workers:
        return f"no other worker may be started: --most-workers is {state.most_workers}"
    if need_bytes > (state.memory_bytes or math.inf):
        return f"no worker may hold so much: --memory is {format_bytes(state.memory_bytes or 0)}"
    if not need.fit(state.cores.get(kind)):
        return f"no worker may use so much of one: each has {state.cores[kind]} of its {kind}"
    return f"no other worker can be started: {STARTS} in a row have failed to, and more are tried now and then (see the log)"


class Outlook(NamedTuple):
    """What a fresh model needs, and who is there for it: its `places` by kind, of which the largest needs so many bytes and cores, the names of the
    `hosts`, and of those that have that `free`."""

    places: Counter[str]
    need_bytes: int
    need: Cores
    hosts: tuple[str, ...]
    free: tuple[str, ...]


def outlook(state: State, model: ModelView) -> Outlook:
    """How a fresh model stands: each of its places is to be another worker."""
    places = [tuple(s for s in model.plan.stages if s.worker == each) for each in model.plan.workers]
    need_bytes = max(sum(stage.memory_bytes for stage in each) for each in places)
    need = most(cores_on(device_of(state, model.plan, each), model.plan, each) for each in places)
    others = beside(state, model)
    hosts = [
        each for each in state.workers.values() if each.status == READY and not each.leaving and each.role != SPARE
    ]
    free = [
        each
        for each in hosts
        if each.name not in others and need_bytes <= state.room(each.name) and need.fit(state.free_cores(each.name))
    ]
    wanted = Counter(device_of(state, model.plan, each) for each in places)
    return Outlook(wanted, need_bytes, need, tuple(each.name for each in hosts), tuple(each.name for each in free))


def device_of(state: State, plan: Plan, stages: Iterable[Stage]) -> str:
    """The kind of worker that can run these stages as planned."""
    return next((plan.engine_of(each) for each in stages if plan.engine_of(each) in state.devices), PROCESSOR)


def with_stages(plan: Plan, changed: Iterable[Stage]) -> Plan:
    """The plan with some stages changed, by their names."""
    by_name = {stage.name: stage for stage in changed}
    return msgspec.structs.replace(plan, stages=tuple(by_name.get(each.name, each) for each in plan.stages))


def fitted(
    state: State, model: ModelView, lost: tuple[Stage, ...], but: Collection[str] = (), unlike: bool = False
) -> ModelView | None:
    """The model in a new epoch with the stages that it has lost on other workers, nobody of `but`; None when there is no room.

    What was on one worker goes to one worker where that is possible, and a stage that nobody has room for is split again. What a fresh
    model has in one place shares its worker with none of the other places.
    """
    homeless = with_stages(model.plan, (msgspec.structs.replace(stage, worker=NOBODY) for stage in lost))
    found = replace(
        model,
        plan=homeless,
        epoch=state.epoch_after(model),
        failure="",
        waits="",
        told=False,
        fresh=False,
        waking=frozenset(),
    )
    for home in dict.fromkeys(stage.worker for stage in lost):
        together = tuple(stage for stage in lost if stage.worker == home)
        if model.fresh:
            but = (*but, *found.plan.workers, *_devoted(state, model, together))
        if target := heir(state.with_model(found), model, together, but, unlike):
            found = _followed(_taken(state, found, together, target), home, target)
            continue
        for stage in sorted(together, key=lambda each: -each.memory_bytes):
            placed = _alone(state.with_model(found), found, stage, but, unlike)
            if placed is None:
                return None
            found = placed
    return found


def _followed(model: ModelView, source: str, target: str) -> ModelView:
    """The model in which stages that sleep, and left the worker `source`, wake where their neighbours there have gone, if there is room: else each
    wake would keep one worker more busy."""
    asleep = (each for each in model.plan.stages if each.original in model.resting and each.worker == source)
    moved = [msgspec.structs.replace(each, worker=target) for each in asleep]
    return replace(model, plan=with_stages(model.plan, moved)) if moved else model


def _devoted(state: State, model: ModelView, stages: Sequence[Stage]) -> tuple[str, ...]:
    """The workers with a device that these stages have no use for: whoever needs it may begin later."""
    kind = device_of(state, model.plan, stages)
    return tuple(each.name for each in state.workers.values() if each.kind not in (PROCESSOR, kind))


def _elsewhere(plan: Plan, way: Relocation) -> Stage:
    stage = plan.stage(way.stage)
    return msgspec.structs.replace(
        stage, worker=way.target, engine=_named(plan, way.engine) if way.engine else stage.engine
    )


def _at_home(state: State, model: ModelView, stage: Stage) -> bool:
    """Whether the stage's worker is there, reaches the others, has the device for it, and has not refused it. One that wakes has no place yet."""
    if stage.original in model.waking or not state.living(stage.worker) or astray(state, model.plan, stage):
        return False
    worker = state.workers[stage.worker]
    return state.runs(worker, model.plan.engine_of(stage)) and (model.name, stage.original) not in worker.refused


def _burden(state: State, worker: str) -> tuple[bool, int]:
    """How much a worker has to do: one that holds nothing yet comes first, and of those who it is that takes over already, so
    that each loss costs one spare; then who has the fewest stages."""
    elsewhere = any(worker in each.spare.split(", ") for each in state.recoveries)
    busy = elsewhere or worker in state.working
    load = state.load(worker)
    return busy, load if busy else -load


def _able(state: State, model: ModelView, stages: Sequence[Stage], unlike: bool) -> list[WorkerView]:
    wanted = {(model.name, stage.original) for stage in stages}
    engines = {model.plan.engine_of(stage) for stage in stages}
    alike = {each.worker for each in others(model.plan, stages)}
    plan = state.models[model.name].plan if model.name in state.models else model.plan
    return [
        each
        for each in state.workers.values()
        if each.status == READY
        and each.name not in alike
        and not each.refused & wanted
        and (unlike or all(state.runs(each, engine) for engine in engines))
        and state.fits(each.name, model.plan, stages)
        and suits(state, plan, stages, each.name)
    ]


def _placed(state: State, model: ModelView, refusal: str) -> State:
    """The model in a new epoch with every stage in a place; or waiting for one; or stopped."""
    if model.fresh:
        lost, begun = strays(state, model), _begun(state, model)
        kind = device_of(state, model.plan, lost)
        return state.with_model(begun) if begun else _expecting(state, model, kind, lost, refusal)
    model = _sparing(state, model, [each.name for each in state.idle()])
    state, lost = state.with_model(model), strays(state, model)
    found = fitted(state, model, lost, beside(state, model)) or _gathered(state, model)
    if found is None:
        model = _sparing(state, model)
        state, lost = state.with_model(model), strays(state, model)
        found = fitted(state, model, lost, beside(state, model)) or _gathered(state, model)
    kind = device_of(state, model.plan, lost)
    if found is None and awaited(state, model, lost, kind):
        return _waiting(state, model, kind, lost)
    found = found or fitted(state, model, lost)
    if found is None and kind != PROCESSOR and not _keeps_device(state, model):
        found = fitted(state, model, lost, unlike=True)
        if found is None and awaited(state, model, lost, PROCESSOR):
            return _waiting(state, model, PROCESSOR, lost)
    if found is not None:
        return state.with_model(found)
    roomy = _with_room_made(state, model, lost)
    if roomy is None and not state.begins:
        return _expecting(state, model, kind, lost, refusal)
    return roomy or _stopped(state, model, _why(state, model, lost, refusal))


def _sparing(state: State, model: ModelView, idle: Collection[str] = ()) -> ModelView:
    """The model without those of its lost replicas that none of the `idle` workers can take: what is left of the stage has their work. The
    last one of a stage stays."""
    lost = {each.name for each in strays(state, model)}
    spared = {
        each.name
        for group in groups(model.plan)
        for each in group
        if each.name in lost and not heir(state, model, (each,), [name for name in state.workers if name not in idle])
    }
    if not spared:
        return model
    plan = without(model.plan, spared)
    kept = {each.name for each in plan.stages}
    return replace(
        model, plan=plan, substituted={name: each for name, each in model.substituted.items() if name in kept}
    )


def _begun(state: State, model: ModelView) -> ModelView | None:
    """The fresh model on a worker for each of its places, none of them a spare, nor one that another replica of it is on."""
    spares = [each.name for each in state.workers.values() if each.role == SPARE]
    if len(state.workers) - len(spares) < len(model.plan.workers):
        return None
    return fitted(state, model, model.plan.stages, (*spares, *beside(state, model)))


def _alone(state: State, model: ModelView, stage: Stage, but: Collection[str], unlike: bool) -> ModelView | None:
    """The model with one lost stage on another worker, or its parts on several; None when there is no room."""
    if target := heir(state, model, (stage,), but, unlike):
        return _taken(state, model, (stage,), target)
    homes = parted(state, model, stage, but, unlike)
    if not homes:
        return None
    model = divided(model, stage.name, homes)
    for run in model.plan.stages:
        if set(run.operators) <= set(stage.operators):
            model = _taken(state, model, (run,), run.worker)
    return model


def _gathered(state: State, model: ModelView) -> ModelView | None:
    """The model in a new epoch, whole on one host, where workers do not reach each other; None when none has room for it.

    Where the most of it is already comes first.
    """
    if not state.severed:
        return None
    places = [place(state, stage.worker) for stage in model.plan.stages if stage.worker in state.workers]
    for here in sorted({place(state, each) for each in state.workers}, key=lambda each: (-places.count(each), each)):
        there = replace(
            state, workers={name: each for name, each in state.workers.items() if place(state, name) == here}
        )
        whole = _sparing(there, model)
        found = fitted(there, whole, strays(there, whole))
        if found is not None:
            return found
    return None


def _taken(state: State, model: ModelView, stages: tuple[Stage, ...], target: str) -> ModelView:
    """The model with these stages on another worker, run by another engine where that one has not the device."""
    worker, hosted, substituted = state.workers[target], dict(model.hosted), dict(model.substituted)
    changed = []
    for stage in stages:
        planned, engine = model.plan.engine_of(stage), state.engine_on(worker, model, stage)
        if engine != planned:
            substituted.setdefault(stage.name, planned)
            hosted.pop((stage.name, target), None)  # what is there is built for the device that is gone
        changed.append(msgspec.structs.replace(stage, worker=target, engine=_named(model.plan, engine)))
    return replace(model, plan=with_stages(model.plan, changed), hosted=hosted, substituted=substituted)


def _named(plan: Plan, engine: str) -> str:
    """An engine as a stage names it: only where it is another than the plan's."""
    return "" if engine == plan.engine else engine


def _with_room_made(state: State, model: ModelView, lost: tuple[Stage, ...]) -> State | None:
    """The model in the place of others of a lower priority; None when that does not help."""
    below = sorted(
        (each for each in state.models.values() if not each.stopped and each.priority < model.priority),
        key=lambda each: (each.priority, each.name),
    )
    trial, gone = state, []
    while _anywhere(trial, model, lost) is None:
        if not below:
            return None
        gone.append(below.pop(0))
        trial = _stopped(trial, gone[-1], _for_another(gone[-1], model))
    for each in reversed(gone):  # nobody goes in vain
        without = trial.with_model(each)
        trial = without if _anywhere(without, model, lost) else trial
    found = _anywhere(trial, model, lost)
    return trial.with_model(found) if found else None


def _anywhere(state: State, model: ModelView, lost: tuple[Stage, ...]) -> ModelView | None:
    found = fitted(state, model, lost)
    return found if found or _keeps_device(state, model) else fitted(state, model, lost, unlike=True)


def _keeps_device(state: State, model: ModelView) -> bool:
    """Whether a stage wakes that has a device: who called it before it slept is to get the same answer, so it waits for one."""
    return any(
        each.original in model.waking and model.plan.engine_of(each) in state.devices for each in model.plan.stages
    )


def _waiting(state: State, model: ModelView, kind: str, lost: tuple[Stage, ...]) -> State:
    """The model waits for a worker to be started, and its calls with it, unless they are refused already.

    One that was just stopped is told so first: others have the room of what it held, and wait until that is dropped.
    """
    if model.stopped and not model.told:
        return state
    if model.failure:
        return state.with_model(replace(model, waits=kind))
    reason = f"{_place_of(model, lost)}, waits for a worker that is being started"
    return state.with_model(replace(model, epoch=state.epoch_after(model), failure=reason, waits=kind, told=False))


def _expecting(state: State, model: ModelView, kind: str, lost: tuple[Stage, ...], refusal: str) -> State:
    """The model waits for workers to join, and its calls with it; one that was stopped to make room for others stays so."""
    if model.stopped:
        return _stopped(state, model, model.failure)
    reason = _missing(state, model) if model.fresh else _why_expected(state, model, kind, lost)
    reason += f"; the last one that might have refused it: {refusal}" if refusal else ""
    if model.failure:
        return state.with_model(replace(model, failure=reason, waits=kind))
    return state.with_model(replace(model, epoch=state.epoch_after(model), failure=reason, waits=kind, told=False))


def _missing(state: State, model: ModelView) -> str:
    """What a fresh model waits for."""
    seen = outlook(state, model)
    hosts, free = (Counter(state.workers[name].kind for name in each) for each in (seen.hosts, seen.free))
    told = ", ".join(
        f"{count} of kind {kind} ({free[kind]} of the {hosts[kind]} here can)"
        for kind, count in sorted(seen.places.items())
    )
    room = f", with room for {format_bytes(seen.need_bytes)}" if seen.need_bytes else ""
    room += f", with {seen.need} free where it is on a device" if seen.need.total else ""
    elsewhere = " and without another replica of it" if beside(state, model) else ""
    there = f"; {_cores_there(state)}" if seen.need.total else ""
    return f"it waits for workers to join that host it, one for each of its places{room}{elsewhere}: {told}{there}"


def _cores_there(state: State) -> str:
    """What of their devices workers have free: cores, and events a second where these are known."""
    counted = [each for each in state.workers.values() if each.cores is not None]
    told = [
        f"{each.name} {state.free_cores(each.name)} of {Cores(each.cores.total, 0, each.cores.keps)}"
        for each in counted[:_NAMED]
        if each.cores
    ]
    more = f" and {len(counted) - _NAMED} more workers" if len(counted) > _NAMED else ""
    return f"free now: {', '.join(told)}{more}" if told else "no worker has any"


def _need(model: ModelView, lost: tuple[Stage, ...], kind: str) -> str:
    """The room that lost stages take: bytes, and cores of the device that they were planned for."""
    cores = cores_on(kind, model.plan, lost)
    return format_bytes(sum(stage.memory_bytes for stage in lost)) + (f" and {cores}" if cores.total else "")


def _why_expected(state: State, model: ModelView, kind: str, lost: tuple[Stage, ...]) -> str:
    """What a model waits for that was served before."""
    there = f" ({_cores_there(state)})" if cores_on(kind, model.plan, lost).total else ""
    return (
        f"{_place_of(model, lost)}, waits for a {kind} worker with room for {_need(model, lost, kind)} to join: none that is here can take "
        f"it{there}, beside the models of its priority, {model.priority}, and above"
    )


def _stopped(state: State, model: ModelView, reason: str) -> State:
    """The model is served no longer; one that is so already stays so, for the reason that it had. Nothing of it sleeps then: when there is
    room it begins whole."""
    if model.stopped:
        return state.with_model(replace(model, waits=""))
    epoch = model.epoch if model.failure else state.epoch_after(model)
    none: frozenset[str] = frozenset()
    return state.with_model(replace(model, epoch=epoch, failure=reason, waits="", resting=none, waking=none))


def _for_another(model: ModelView, other: ModelView) -> str:
    return (
        f"it is stopped to make room for model {other.name!r}, whose priority {other.priority} is above its own, "
        f"{model.priority}; it comes back by itself when there is room"
    )


def _why(state: State, model: ModelView, lost: tuple[Stage, ...], refusal: str) -> str:
    """Why there is no place for a model."""
    where = _place_of(model, lost)
    if refusal:
        return f"no worker hosts {where}: {refusal}"
    if not any(each.status == READY for each in state.workers.values()):
        return f"no worker is left that can host {where}, and none can be started, which is tried again and again; see the log"
    need_bytes, kind = sum(stage.memory_bytes for stage in lost), device_of(state, model.plan, lost)
    need, cores = _need(model, lost, kind), cores_on(kind, model.plan, lost)
    if state.severed and any(not suits(state, model.plan, lost, each) for each in state.workers):
        ways = ", ".join(f"{one} and {other}" for one, other in sorted(state.severed))
        return (
            f"it is stopped because no worker that is in reach of its others has room for {where}, which needs {need}; nothing "
            f"passes between {ways}: mend the network, and it comes back by itself"
        )
    others = why_none_starts(state, kind, need_bytes, cores)
    there = f" ({_cores_there(state)})" if cores.total else ""
    return (
        f"it is stopped because no worker has room for {where} and needs {need}{there}, beside the models of its priority, "
        f"{model.priority}, and above{f', and {others}' if others else ''}; it comes back by itself when there is room"
    )


def _place_of(model: ModelView, lost: tuple[Stage, ...]) -> str:
    """The first stage that is lost, and where it was."""
    return f"{model.name}.{lost[0].name}, which was on {lost[0].worker}"
