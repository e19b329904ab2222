"""How many replicas a stage has, and is to have: what comes or goes next. Pure.

A replica comes to a worker that has nothing to do, and is no spare that is wanted; where workers are begun here, one is begun for it. Where all are
begun by others, what the stage is to have at least goes to a busy host, too, if nobody else is there. It goes
again when its stage is to have fewer, the last one first. Both are planned moves (`control/moves`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from synfire.control.order import Relocation
from synfire.control.placement import awaited, device_of, heir
from synfire.control.reach import suits
from synfire.control.state import PROCESSOR, SPARE, ModelView, State, WorkerView
from synfire.plan.plan import Stage
from synfire.plan.replicas import next_name, others


def wanted(model: ModelView, stage: Stage) -> int:
    """How many replicas of it there are to be now."""
    return min(max(model.replicas.get(stage.name, 1), stage.least, 1), stage.most)


def due(state: State) -> bool:
    """Whether there is anything to do."""
    return bool(next_way(state) or needed(state) or (state.more and surplus(state)))


def next_way(state: State) -> Relocation | None:
    """The next replica that goes, or comes to a worker; None where none does, or none can now."""
    for model, stage, missing in unlike(state):
        if missing < 0:
            last = others(model.plan, (stage,))[-1]
            return Relocation(model.name, last.name, last.worker, "")
        if target := _taker(state, model, stage):
            return Relocation(model.name, stage.name, "", target)
    return None


def needed(state: State) -> str:
    """The kind of worker that has to be begun for a replica; empty for none."""
    for model, stage, missing in unlike(state):
        kind = device_of(state, model.plan, (stage,))
        if missing > 0 and awaited(state, model, (stage,), kind):
            return kind
    return ""


def surplus(state: State) -> str:
    """A worker that was begun here, has nothing to do, and is one more than there are to be; empty for none."""
    if len(state.workers) <= state.complement or len(state.idle()) <= state.spares:
        return ""
    return next((each.name for each in reversed(state.idle()) if not each.joined and each.kind == PROCESSOR), "")


def unlike(state: State) -> Iterator[tuple[ModelView, Stage, int]]:
    """The stages that have another number of replicas than they are to have, and how many they lack; the most important models first."""
    for model in state.by_priority() if any(each.scaling for each in state.models.values()) else ():
        for stage in () if model.failure or model.sleeps or model.fresh else model.scaling:
            missing = wanted(model, stage) - 1 - len(others(model.plan, (stage,)))
            if missing:
                yield model, stage, missing


def _taker(state: State, model: ModelView, stage: Stage) -> str:
    """Who may take another replica: somebody who has nothing to do, where there are more of these than spares that are wanted; else a busy host, of
    those that the stage is to have at least where no worker is begun for them."""
    idle = [each for each in state.idle() if each.role != SPARE]
    kept = max(0, state.spares - (len(state.idle()) - len(idle)))
    able = [each for each in idle if suits(state, model.plan, (stage,), each.name)]
    if len(idle) > kept and (target := _least_busy(state, model, stage, able)):
        return target
    if state.begins or 1 + len(others(model.plan, (stage,))) >= stage.least:
        return ""
    busy = [each for each in state.workers.values() if state.load(each.name)]
    return _least_busy(state, model, stage, [each for each in busy if each.role != SPARE and not each.leaving])


def _least_busy(state: State, model: ModelView, stage: Stage, able: Iterable[WorkerView]) -> str:
    """Who of these takes another replica; empty for nobody."""
    name = next_name(model.plan, stage.name)
    more = msgspec.structs.replace(stage, name=name, worker="", replica_of=stage.name, parts=())
    names = {each.name for each in able}
    return heir(state, model, (more,), [name for name in state.workers if name not in names])
