"""Stages that run in several places: a request goes through one replica of each. Pure.

A replica is a stage like any other, with a name, a worker and links of its own. So whatever builds, moves, loses, proves and relinks
stages does so with replicas, and none of it knows of them. Who sends knows: a request has a **lane**, the number of the replica that it
goes through for each of `groups`, and a link that leads to, or comes from, one of several replicas is for the lanes that take that one.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.plan.costs import format_bytes
from synfire.plan.place import DoesNotFit, Room
from synfire.plan.plan import IDLE_S, Link, Plan, Stage
from synfire.store.names import replica

MOST_REPLICAS = 99


class Range(NamedTuple):
    """How many replicas a stage is to have: from `least` to `most`, as its work takes. Where the `least` is 0 it sleeps when nobody has called
    its model for `idle_s` seconds."""

    least: int
    most: int
    idle_s: float = IDLE_S

    @property
    def varies(self) -> bool:
        """Whether the stage may ever have another number than one."""
        return self.most > 1 or self.least < 1


Lane = tuple[int, ...]
"""The place of a request's replica in each of a plan's `groups`; empty for the first of each."""


def groups(plan: Plan) -> tuple[tuple[Stage, ...], ...]:
    """The stages that have several replicas, in the order of the plan: each with all of them, the first one first."""
    found: dict[str, tuple[Stage, ...]] = {}
    for stage in plan.stages:
        found[stage.original] = (*found.get(stage.original, ()), stage)
    return tuple(group for group in found.values() if len(group) > 1)


def forks(plan: Plan) -> dict[str, tuple[int, int]]:
    """Which lanes take a replica: its place in a lane, and the number that stands there."""
    return {each.name: (place, n) for place, group in enumerate(groups(plan)) for n, each in enumerate(group)}


def along(plan: Plan, lane: Lane) -> Plan:
    """What there is of the plan for the requests of a lane."""
    left = {
        each.name
        for place, group in enumerate(groups(plan))
        for n, each in enumerate(group)
        if n != (lane[place] if place < len(lane) else 0)
    }
    return msgspec.structs.replace(
        plan,
        stages=tuple(each for each in plan.stages if each.name not in left),
        links=tuple(each for each in plan.links if not {each.sender, each.receiver} & left),
    )


def others(plan: Plan, stages: Collection[Stage]) -> tuple[Stage, ...]:
    """The other replicas of these stages, those among them left out."""
    names, originals = {each.name for each in stages}, {each.original for each in stages}
    return tuple(each for each in plan.stages if each.original in originals and each.name not in names)


def homes(plan: Plan) -> dict[str, dict[str, str]]:
    """The workers of the replicas of each stage that has several, by their names, by its name."""
    return {group[0].original: {each.name: each.worker for each in group} for group in groups(plan)}


def bare(plan: Plan) -> Plan:
    """The plan with each stage once, where its first replica is."""
    names = {each.name: each.original for each in plan.stages}
    whole = {
        group[0].name: (sum(each.busy_s for each in group), sum(each.events for each in group))
        for group in groups(plan)
    }
    if not whole:
        return plan
    links: dict[tuple[str, str, str], Link] = {}
    for link in plan.links:
        ends = names.get(link.sender, link.sender), names.get(link.receiver, link.receiver)
        before = links.get((link.source, *ends))
        links[link.source, *ends] = msgspec.structs.replace(
            link,
            sender=ends[0],
            receiver=ends[1],
            busy_s=link.busy_s + (before.busy_s if before else 0.0),
        )
    stages = tuple(
        msgspec.structs.replace(each, busy_s=busy_s, events=events)
        for each in plan.stages
        if not each.replica_of
        for busy_s, events in (whole.get(each.name, (each.busy_s, each.events)),)
    )
    return _paced(plan, msgspec.structs.replace(plan, stages=stages, links=tuple(links.values())))


def replicated(plan: Plan, workers: Mapping[str, Sequence[str]]) -> Plan:
    """The plan with a replica of these stages on each of their `workers`, and every other stage once."""
    return arranged(
        plan,
        {
            name: {replica(name, n) if n > 1 else name: worker for n, worker in enumerate(found, 1)}
            for name, found in workers.items()
        },
    )


def arranged(plan: Plan, places: Mapping[str, Mapping[str, str]]) -> Plan:
    """The plan with replicas as `homes` tells them, and every other stage once; the first one of a stage has the stage's own name."""
    once = bare(plan)
    copies = {each.name: _copies(each, places.get(each.name, {each.name: each.worker})) for each in once.stages}
    names = {name: tuple(each.name for each in found) for name, found in copies.items()}
    stages = tuple(each for copied in copies.values() for each in copied)
    links = tuple(each for link in once.links for each in _linked(link, names))
    return _paced(once, msgspec.structs.replace(once, stages=stages, links=links))


def without(plan: Plan, names: Collection[str]) -> Plan:
    """The plan without these replicas; of each stage one stays at least. Where the first one goes the last one takes its name."""
    kept: dict[str, dict[str, str]] = {}
    for name, places in homes(plan).items():
        staying = {each: worker for each, worker in places.items() if each not in names} or {name: places[name]}
        first = staying.pop(name) if name in staying else staying.pop(list(staying)[-1])
        kept[name] = {name: first, **staying}
    return arranged(plan, kept)


def grown(plan: Plan, name: str, worker: str) -> Plan:
    """The plan with one more replica of a stage."""
    several = homes(plan)
    places = several.get(name, {name: plan.stage(name).worker})
    return arranged(plan, {**several, name: {**places, next_name(plan, name): worker}})


def ranges(plan: Plan) -> dict[str, Range]:
    """How many replicas stages are to have, by their names, of those that may have several, or none."""
    found = {each.name: Range(each.least, each.most, each.idle_s) for each in plan.stages if not each.replica_of}
    return {name: each for name, each in found.items() if each.varies}


def ranged(plan: Plan, wanted: Mapping[str, Range]) -> Plan:
    """The plan in which these stages are to have so many replicas, and every other one a single one. None comes or goes by that."""
    numbers = {each.original: wanted.get(each.original, Range(1, 1)) for each in plan.stages}
    stages = (msgspec.structs.replace(each, **numbers[each.original]._asdict()) for each in plan.stages)
    return msgspec.structs.replace(plan, stages=tuple(stages))


def check_ranges(plan: Plan, wanted: Mapping[str, Range]) -> None:
    """Raise `UnknownName` for a stage that the plan has not, `UserError` where a replica would have another stage's name."""
    for name, (_, most, _) in wanted.items():
        taken = {each.name for each in plan.stages if each.original != name}
        if name not in {each.original for each in plan.stages}:
            raise _unknown(plan, name)
        if both := taken.intersection(replica(name, n) for n in range(2, most + 1)):
            raise UserError(
                f"a replica of {plan.model}.{name} would be called {min(both)}, as another stage is: rename that one"
            )


def next_name(plan: Plan, name: str) -> str:
    """What another replica of a stage is called."""
    taken = {each.name for each in plan.stages}
    return next(found for n in itertools.count(2) if (found := replica(name, n)) not in taken)


def with_replicas(plan: Plan, wanted: Mapping[str, Range], rooms: Sequence[Room], load_s: Mapping[str, float]) -> Plan:
    """The plan with the least of replicas that these stages are to have, each further one on the least busy of `rooms` that has none of
    that stage. `rooms` tell what is left beside other models, `load_s` what workers do for these.

    Raises `UnknownName` for a stage that it has not, `UserError` where there are fewer rooms than replicas, and `DoesNotFit` where these
    may not hold so much.
    """
    check_ranges(plan, wanted)
    for name, (count, _, _) in wanted.items():
        for _ in range(count - 1):
            busy = {each.worker for each in plan.stages if each.original == name}
            free = [each for each in rooms if each.worker not in busy]
            if not free:
                raise UserError(
                    f"stage {plan.model}.{name} is wanted in {count} replicas, each on a worker of its own, and there are {len(rooms)} "
                    f"workers; allow {count} with --workers, or ask for fewer replicas"
                )
            stage = plan.stage(name)
            roomy = [each for each in free if _held_bytes(plan, each.worker) + stage.memory_bytes <= each.limit_bytes]
            if not roomy:
                raise DoesNotFit(
                    f"another replica of stage {plan.model}.{name} takes {format_bytes(stage.memory_bytes)}, and no worker without one has "
                    "so much left; add workers, raise their limit, or ask for fewer replicas"
                )
            own_s = busy_s(plan)
            load = {each: own_s.get(each.worker, 0.0) + load_s.get(each.worker, 0.0) for each in roomy}
            target = min(roomy, key=lambda each: (load[each], rooms.index(each)))
            plan = grown(plan, name, target.worker)
    return ranged(plan, wanted)


def _copies(stage: Stage, places: Mapping[str, str]) -> tuple[Stage, ...]:
    """The stage on each of these workers, by the names of its replicas."""
    shared = msgspec.structs.replace(stage, busy_s=stage.busy_s / len(places), events=stage.events / len(places))
    return tuple(
        msgspec.structs.replace(shared, worker=worker)
        if name == stage.name
        else msgspec.structs.replace(shared, name=name, worker=worker, replica_of=stage.name, parts=())
        for name, worker in places.items()
    )


def _linked(link: Link, names: Mapping[str, tuple[str, ...]]) -> tuple[Link, ...]:
    """The link from each replica of its sender to each of its receiver."""
    senders, receivers = names.get(link.sender, (link.sender,)), names.get(link.receiver, (link.receiver,))
    share_s = link.busy_s / (len(senders) * len(receivers))
    return tuple(
        msgspec.structs.replace(link, sender=sender, receiver=receiver, busy_s=share_s)
        for sender in senders
        for receiver in receivers
    )


def busy_s(plan: Plan) -> dict[str, float]:
    """For how long a request keeps each worker busy, in seconds, by what was predicted of stages and of the links between workers."""
    found = dict.fromkeys(plan.workers, 0.0)
    worker = {each.name: each.worker for each in plan.stages}
    for stage in plan.stages:
        found[stage.worker] += stage.busy_s
    for link in plan.links:
        ends = [worker[end] for end in (link.sender, link.receiver) if end in worker]
        if len(set(ends)) == len(ends):
            for each in ends:
                found[each] += link.busy_s
    return found


def _paced(before: Plan, after: Plan) -> Plan:
    """The plan `after` a change, with the requests a second that its busiest worker allows now."""
    peaks_s = [max(busy_s(each).values(), default=0.0) for each in (before, after)]
    faster = peaks_s[0] / peaks_s[1] if all(peaks_s) else 1.0
    return msgspec.structs.replace(after, requests_s=before.requests_s * faster)


def _held_bytes(plan: Plan, worker: str) -> int:
    return sum(each.memory_bytes for each in plan.stages if each.worker == worker)


def _unknown(plan: Plan, name: str) -> UserError:
    """Why there is no such stage: it may be an operator in one."""
    inside = next((each.name for each in plan.stages if name in each.operators), "")
    if not inside:
        return UnknownName.among(f"stage of {plan.model}", name, [each.name for each in plan.stages])
    return UserError(
        f"operator {name} of {plan.model} is in stage {inside}, which has replicas as a whole: name that one, or have each stage of the "
        "cut stay by itself with --granularity operator --apart"
    )
