"""When stages are spread again by themselves, where all workers are begun by others. Pure.

A host that joins is given its share, and relieves spares of what they took over, but only when nobody has come or gone for `SETTLED_S`. Who begins
workers anew one after the other, as a rollout of Pods does, would otherwise have stages move twice for each: to a spare, and back from there.
So the next one's go to the one before, which has nothing to do yet and has built them by then.

One that goes leaves what it had to a spare, or to a host, and most often comes back. Only where none has for `RELIEF_S` is it spread over those
that are left.
"""

from __future__ import annotations

from dataclasses import replace

from synfire.control.state import SPARE, State, WorkerView

SETTLED_S = 10.0
"""For how long it is waited whether others come or go, in seconds. Kubernetes takes up to 5 s from one Pod's being ready to the end of the next. What
is spread later is served meanwhile, and protected by who has nothing to do."""

RELIEF_S = 60.0
"""For how long one that has gone is waited for, in seconds. A container that begins again takes up to 20 s, a Pod on another node up to 40."""


def joined(state: State, worker: WorkerView, at_s: float) -> State:
    """The state in which a worker has joined. A spare has nothing spread."""
    if state.begins or not worker.joined or worker.role == SPARE:
        return state
    return replace(state, joined_s=at_s)


def left(state: State, worker: WorkerView, at_s: float) -> State:
    """The state in which a worker has gone, in whatever way."""
    if state.begins or not worker.joined:
        return state
    return replace(state, deserted_s=at_s)


def due_s(state: State) -> float | None:
    """When stages are to be spread, if nobody else comes or goes until then; None where there is no cause."""
    last_s = max((each for each in (state.joined_s, state.deserted_s) if each is not None), default=None)
    if last_s is None:
        return None
    return last_s + (RELIEF_S if state.joined_s is None else SETTLED_S)


def due(state: State, at_s: float) -> bool:
    """Whether stages are to be spread now."""
    when_s = due_s(state)
    return when_s is not None and at_s >= when_s


def begun(state: State, at_s: float) -> State:
    """The state in which that has begun. Of those that have gone some may still come back."""
    awaited = state.deserted_s is not None and at_s < state.deserted_s + RELIEF_S
    return replace(state, joined_s=None, deserted_s=state.deserted_s if awaited else None)
