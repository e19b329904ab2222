"""`decide(state) → actions`: what is to be done now. Pure and level-triggered: whatever is not yet so, is asked for again."""

from __future__ import annotations

from collections.abc import Iterator

from synfire.control.events import Action, Adopt, GiveUp, Keep, Prepare, Relink, Resume, Start, Suspend
from synfire.control.state import STARTING, ModelView, State


def decide(state: State) -> tuple[Action, ...]:
    """Every action that would bring the running things nearer to what is wanted, the most urgent first."""
    urgent = [action for model in _by_priority(state) for action in _for_model(state, model)]
    urgent.sort(key=lambda action: not isinstance(action, Suspend))  # fence everything before anything moves
    return (*urgent, *_for_spares(state), *(Keep(each.id) for each in state.finished))


def _by_priority(state: State) -> list[ModelView]:
    return sorted(state.models.values(), key=lambda each: (-each.priority, each.name))


def _for_model(state: State, model: ModelView) -> Iterator[Action]:
    if model.settled:
        return
    if model.failure and not state.starts:
        yield GiveUp(model.name, model.failure)
        return
    if model.suspended < model.epoch:
        yield Suspend(model.name, model.epoch)
    if model.failure:
        return
    if model.linked:
        yield Resume(model.name, model.epoch)
        return
    staying: dict[str, tuple[str, ...]] = {}
    for stage in model.plan.stages:
        worker, epoch = model.hosted.get(stage.name, ("", -1))
        if worker == stage.worker and epoch == model.epoch:
            continue
        if worker == stage.worker:
            staying[worker] = (*staying.get(worker, ()), stage.name)
        else:
            prepared = (model.name, stage.name) in state.workers[stage.worker].prepared
            yield Adopt(model.name, stage.name, stage.worker, model.epoch, prepared)
    for worker, stages in staying.items():
        yield Relink(model.name, worker, stages, model.epoch)


def _for_spares(state: State) -> Iterator[Action]:
    """Keep the pool full, and its members warm, while nothing more urgent is under way; start a worker for the homeless."""
    coming = [each for each in state.workers.values() if each.status == STARTING]
    idle = state.idle()
    homeless = any(model.failure for model in state.models.values())
    wanted = max(state.spares, int(homeless)) - len(coming) - len(idle) if state.starts else 0
    if not state.calm and not homeless:
        return
    yield from (Start(each.name) for each in coming)
    yield from (Start(f"spare-{state.born + n}") for n in range(wanted))
    for spare in idle if state.prepare else ():
        known = spare.prepared | spare.refused
        missing = ((m.name, s.name) for m in _by_priority(state) for s in m.plan.stages)
        stage = next((pair for pair in missing if pair not in known), None)
        if stage is not None and state.calm:
            yield Prepare(*stage, spare.name)
