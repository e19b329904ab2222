"""How a controller that was restarted takes over what runs: from what was written down and what is found, to a state. Pure.

What was written may be older than what there is, since it is written after the fact. So workers are believed about what they
host, and what is written about what is wanted. A model of which every stage is found where it is wanted, in the newest epoch
that anybody has seen, goes on undisturbed; any other one gets an epoch that no controller before can have given, in which it is
put in order as after any loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synfire.control import events
from synfire.control.events import Event
from synfire.control.state import STARTING, ModelView, State, WorkerView

EPOCHS = 1_000_000
"""How many epochs a controller has to give. What the one before has told last may be written nowhere yet, and still be under way
to a worker: no epoch is ever given twice."""

Hosted = Mapping[tuple[str, str], int]
"""The epochs of the stages, by (model, stage), that a worker holds."""


@dataclass(frozen=True)
class Found:
    """What there is: the living `workers` with what each holds, those that are being started, and the records that are
    written: their numbers in `kept`. There were `before` controllers before this one."""

    workers: Mapping[str, Hosted]
    starting: Collection[str] = ()
    kept: Collection[int] = field(default_factory=frozenset)
    before: int = 0


def taken_over(written: State, found: Found, now_s: float) -> tuple[State, tuple[Event, ...]]:
    """The state to begin with, and what has then to be told, in order."""
    written = replace(written, first_epoch=found.before * EPOCHS)
    state = replace(
        written,
        workers=dict(_workers(written, found)),
        born=_born(written, found),
        models={name: _model(written, each, found) for name, each in written.models.items()},
        finished=tuple(each for each in written.finished if each.id not in found.kept),
        next_id=max([written.next_id, *(number + 1 for number in found.kept)]),
    )
    return state, tuple(_told(written, state, found, now_s))


def _workers(written: State, found: Found) -> Iterator[tuple[str, WorkerView]]:
    """Those that were counted on, also where they are gone, which is told; and those that are still to come."""
    for name, view in written.workers.items():
        if view.status != STARTING or (name in found.starting and name not in found.workers):
            yield name, view


def _born(written: State, found: Found) -> int:
    """How many workers were started: those that are to come get other names than all that there are."""
    names = (each.rpartition("-") for each in (*written.workers, *found.workers, *found.starting))
    return max([written.born, *(int(number) + 1 for _, _, number in names if number.isdecimal())])


def _model(written: State, view: ModelView, found: Found) -> ModelView:
    """The model as its stages are found: in order, or in an epoch that nobody has seen."""
    hosted = {
        (stage, worker): epoch
        for worker, held in found.workers.items()
        for (model, stage), epoch in held.items()
        if model == view.name and "/" not in stage  # what a worker has made for calls of a single operator is its own
    }
    epoch = max([view.epoch, *hosted.values()])
    view = replace(view, hosted=hosted, adopting={}, epoch=epoch)
    whole = all(view.holds(stage) for stage in view.placed if stage.worker in found.workers)
    if not view.sleeps and (whole or view.failure):
        return replace(view, suspended=epoch, routed=epoch)
    return replace(view, epoch=written.epoch_after(view))


def _told(written: State, state: State, found: Found, now_s: float) -> Iterator[Event]:
    living = sum(name in found.workers or view.status == STARTING for name, view in state.workers.items())
    for name in found.workers:
        if name not in state.workers:
            spare = living >= state.complement  # one too many, it seems
            yield events.WorkerReady(now_s, name, **_nature(written, name), back=spare)
            living += not spare
    for name, view in state.workers.items():
        if name not in found.workers and view.status != STARTING:
            yield events.WorkerLost(now_s, name, "exit", now_s)
    for name, model in state.models.items():
        if model.settled and not model.failure:
            yield events.Resumed(now_s, name, model.epoch)


def _nature(written: State, worker: str) -> dict[str, Any]:
    """The kind, the host, the memory and the cores of a worker that was being started."""
    view = written.workers.get(worker, WorkerView(worker))
    cores = written.cores.get(view.kind)
    return {"kind": view.kind, "group": view.group, "memory_bytes": written.memory_bytes, "cores": cores}
