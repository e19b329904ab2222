"""Workers that live, and do not reach each other: no stage of one may send to a stage of the other. Pure.

Two workers of different hosts stand for their hosts, and those without one for the deployment's own machine; two of one host stand for
themselves. Of two between which nothing passes, one keeps its stages, and those of the other that are linked with these have to go
elsewhere. What is known only grows while it counts, and every place that is chosen heeds all of it, so a model moves once for each broken
way at the most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from synfire.control.state import State
from synfire.plan import Plan
from synfire.plan.plan import Stage

SEVERED_S = 60.0
"""How long it counts that two do not reach each other, in seconds. Nobody tells when the network is mended; after that time the
way may be used again by what has to be placed then, which finds out within a third of a second if it is still broken."""

HERE = "the deployment's own machine"
"""What workers without a host stand for: they share one with gateways and controller."""


def severed(state: State, worker: str, by: str, at_s: float) -> State:
    """The state in which it is known that `by` cannot reach `worker`.

    Who gives way is the one that more others do not reach, since the fault is likelier there, or else `worker`.
    """
    away, stays = _places(state, worker, by)
    if _ways_lost(state, stays, but=away) > _ways_lost(state, away, but=stays):
        away, stays = stays, away
    known = {ends: since_s for ends, since_s in state.severed.items() if set(ends) != {away, stays}}
    return replace(state, severed={**known, (away, stays): at_s})


def lapsed(state: State, at_s: float) -> State:
    """The state without what counts no longer."""
    return replace(state, severed={ends: at for ends, at in state.severed.items() if at_s - at < SEVERED_S})


def joined(state: State, end: str) -> State:
    """The state in which nothing is known against a place: why it was not reached is known better now."""
    return replace(state, severed={ends: at for ends, at in state.severed.items() if end not in ends})


def astray(state: State, plan: Plan, stage: Stage) -> bool:
    """Whether the stage has to go, since stages that it is linked with are out of its worker's reach and stay."""
    return any(
        _places(state, stage.worker, each.worker) in state.severed for each in _linked(state, plan, {stage.name})
    )


def suits(state: State, plan: Plan, stages: Collection[Stage], worker: str) -> bool:
    """Whether the worker, had it these stages, would reach all that they are linked with."""
    for each in _linked(state, plan, {stage.name for stage in stages}):
        one, other = _places(state, worker, each.worker)
        if (one, other) in state.severed or (other, one) in state.severed:
            return False
    return True


def place(state: State, worker: str) -> str:
    """The worker's host, or itself where it has none."""
    return state.workers[worker].group or worker


def _places(state: State, worker: str, other: str) -> tuple[str, str]:
    """What the two stand for."""
    ends = state.workers[worker].group or HERE, state.workers[other].group or HERE
    return ends if ends[0] != ends[1] else (worker, other)


def _ways_lost(state: State, end: str, but: str) -> int:
    """How many do not reach that place, `but` one aside."""
    return sum(end in ends and but not in ends for ends in state.severed)


def _linked(state: State, plan: Plan, names: set[str]) -> Iterator[Stage]:
    """The other stages that these are linked with, where their workers are there; nobody asks while all reach all."""
    if not state.severed:
        return
    ways = [{link.sender, link.receiver} for link in plan.links]
    others = set().union(*(way for way in ways if way & names)) - names
    yield from (each for each in plan.stages if each.name in others and each.worker in state.workers)
