"""How even the workers' loads are, and why a rebalance leaves them so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from synfire.control.balance import GAIN, SPLIT_GAIN, cost_s, may_take, work_s
from synfire.control.placement import why_none_starts
from synfire.control.state import PROCESSOR, State
from synfire.plan.costs import format_seconds


def loads(state: State, workers: Sequence[str]) -> dict[str, float]:
    """What the stages of each worker are predicted to take together, in seconds a request, the busiest worker first."""
    return dict(sorted(work_s(state, workers).items(), key=lambda each: (-each[1], each[0])))


def remarks(state: State, workers: Sequence[str]) -> Iterator[str]:
    """Why no stage is moved (any more): the best move that is left and what it would cost, and what cannot be had."""
    yield _best_left(state, loads(state, workers))
    if len(workers) < state.in_service and (missing := why_none_starts(state, PROCESSOR)):
        yield f"{len(workers)} of {state.in_service} workers serve, and {missing}"
    for model in state.by_priority():
        for stage, planned in model.substituted.items() if not model.stopped else ():
            engine = model.plan.engine_of(model.plan.stage(stage))
            yield f"{model.name}.{stage} stays on {engine}: no worker that has a {planned} can take it"


def _best_left(state: State, busy: Mapping[str, float]) -> str:
    """What the best of all moves from the busiest worker would come to."""
    if len(busy) < 2:
        return f"all stages are on {next(iter(busy), 'no worker')}, and no other worker serves"
    source = next(iter(busy))
    ways = [
        (max(busy[source] - cost_s(stage), busy[target] + cost_s(stage)), f"{model.name}.{stage.name}", target)
        for model, stage in state.stages_on(source)
        for target in busy
        if target != source and may_take(state, model, stage, state.workers[target])
    ]
    said = f"{source} is the busiest with {format_seconds(busy[source])} a request"
    if not ways:
        return f"{said}, and no other worker has the room and the device for any of its stages"
    peak_s, stage, target = min(ways)
    return (
        f"{said}, and no move makes that better: the best, {stage} to {target}, would leave one of the two with "
        f"{format_seconds(peak_s)}, and a move must gain {100 * (1 - GAIN):.0f} % to be worth the milliseconds in which calls wait"
        f"{_of_splits(state, source)}"
    )


def _of_splits(state: State, worker: str) -> str:
    """What is to be said of the worker's stages that could be split."""
    if not any(stage.parts for _, stage in state.stages_on(worker)):
        return ""
    return f"; nor would splitting a stage gain the {100 * (1 - SPLIT_GAIN):.0f} % for which frames may go from worker to worker"
