"""Replicas of single stages, on the workers that models are planned for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from synfire.base.errors import UserError
from synfire.deploy.planned import Planned
from synfire.plan import Plan, Stage, rooms
from synfire.plan.costs import parse_bytes
from synfire.plan.place import Room
from synfire.plan.replicas import Range, busy_s, groups, with_replicas


def replicate_stages(
    planned: Sequence[Planned],
    ranges: Mapping[str, Mapping[str, Range]],
    workers: int | None,
    memory: str | None = None,
) -> tuple[Planned, ...]:
    """The models with as many replicas of some stages, by model and stage, as they are to have at least. They share
    the `workers` with all others, and the busiest have the least of them; where workers join instead, None, each further replica is a place of
    its own. `memory` is what one may hold.

    Raises `UserError` for a model that an engine runs whole, and as `with_replicas` does.
    """
    found = list(planned)
    for place, each in enumerate(planned):
        if wanted := ranges.get(each.model.name):
            if each.model.graph.whole:
                raise whole_has_replicas(each.model.name)
            others = [other.plan for other in found if other is not each]
            here = _places(each.plan, wanted) if workers is None else _left(others, workers, memory)
            plan = with_replicas(each.plan, wanted, here, _load_s(others) if workers is not None else {})
            found[place] = replace(each, plan=_told(plan))
    return tuple(found)


def whole_has_replicas(model: str) -> UserError:
    """Why none of its stages has several."""
    return UserError(f"model {model} runs whole, so it is that which has replicas: ask for --replicas {model}=N")


def _places(plan: Plan, ranges: Mapping[str, Range]) -> tuple[Room, ...]:
    """A place for each further replica, beside those that the plan has."""
    first, more = len(plan.workers), sum(max(each.least, 1) - 1 for each in ranges.values())
    return tuple(Room(f"place-{n}") for n in range(first, first + more))


def _left(others: Sequence[Plan], workers: int, memory: str | None) -> tuple[Room, ...]:
    """The workers with what other models leave of their room."""
    held: Counter[str] = Counter()
    for plan in others:
        for stage in plan.stages:
            held[stage.worker] += stage.memory_bytes
    free = rooms(workers, parse_bytes(memory) if memory else None)
    return tuple(
        each if each.memory_bytes is None else replace(each, memory_bytes=each.memory_bytes - held[each.worker])
        for each in free
    )


def _load_s(others: Sequence[Plan]) -> dict[str, float]:
    found: dict[str, float] = {}
    for plan in others:
        for worker, seconds in busy_s(plan).items():
            found[worker] = found.get(worker, 0.0) + seconds
    return found


def _told(plan: Plan) -> Plan:
    """The plan with its replicas among its reasons."""
    several = {group[0].name: group for group in groups(plan)}
    mine = [each for each in plan.stages if not each.replica_of]
    more = [_said(several.get(each.name, (each,))) for each in mine if each.most > 1]
    more += [
        f"{each.name} leaves its worker when nobody has called for {each.idle_s:g} s, and the next call, which waits, brings it back"
        for each in mine
        if each.may_sleep
    ]
    return msgspec.structs.replace(plan, reasons=(*plan.reasons, *more))


def _said(group: Sequence[Stage]) -> str:
    """How often a stage runs, and where."""
    first, on = group[0], ", ".join(each.worker for each in group)
    more = f", and up to {first.most} where its work takes them" if first.most > len(group) else ""
    count = f"{len(group)} replica{'s' * (len(group) > 1)}"
    return f"{first.name} has {count}, on {on}{more}: a request goes through the one with the least to do"
