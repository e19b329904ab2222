"""Stages that consist of neighbours in the cut: joined where they share a worker, and split again where one has to move. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import msgspec

from synfire.base.errors import UserError
from synfire.plan.cut import Group, join
from synfire.plan.plan import GATEWAY, Link, Plan, Stage
from synfire.plan.replicas import arranged, bare, homes


def stage_name(operators: Group) -> str:
    """An operator's own name, or `first..last`: in one model's cut no two runs of neighbours share it."""
    return operators[0] if len(operators) == 1 else f"{operators[0]}..{operators[-1]}"


def joined(parts: Sequence[Stage]) -> Stage:
    """Neighbours of the cut as one stage, on the first one's worker. The prices of their calls are all kept: some microseconds."""
    if len(parts) == 1:
        return parts[0]
    operators = join(each.operators for each in parts)
    return msgspec.structs.replace(
        parts[0],
        name=stage_name(operators),
        operators=operators,
        memory_bytes=sum(each.memory_bytes for each in parts),
        busy_s=sum(each.busy_s for each in parts),
        parts=tuple(parts),
    )


def fuse(plan: Plan) -> Plan:
    """The plan with neighbours on one worker joined, which are stages of the cut now."""
    runs = itertools.groupby(plan.stages, lambda stage: (stage.worker, stage.engine))
    stages = tuple(joined(tuple(run)) for _, run in runs)
    return msgspec.structs.replace(plan, stages=stages, seams=plan.links, links=_crossing(plan.links, _homes(stages)))


def split(plan: Plan, name: str, workers: Sequence[str]) -> Plan:
    """The plan with a stage split again along the cut that it was joined from: part i goes to `workers[i]`, and neighbours on one
    worker stay together. The other stages are the same.

    Raises `UserError` for a stage without parts, or other than one worker for each, and for one that has replicas.
    """
    stage, several = plan.stage(name), homes(plan)
    if len(stage.parts) != len(workers):
        raise UserError(
            f"stage {plan.model}.{name} has {len(stage.parts)} parts, and {len(workers)} workers are named; name one each"
        )
    if name in several:
        raise UserError(f"stage {plan.model}.{name} has replicas, and cannot be split before it is in one place")
    if several:
        return arranged(split(bare(plan), name, workers), several)
    placed = [
        msgspec.structs.replace(part, worker=home, engine=stage.engine)
        for part, home in zip(stage.parts, workers, strict=True)
    ]
    runs = [joined(tuple(run)) for _, run in itertools.groupby(placed, lambda part: part.worker)]
    stages = tuple(new for each in plan.stages for new in (runs if each.name == name else [each]))
    return msgspec.structs.replace(plan, stages=stages, links=_crossing(plan.seams, _homes(stages)))


def unsplit(plan: Plan, names: Collection[str]) -> Plan:
    """The plan in which these stages cannot be split: somebody else knows them by their names."""
    home = {
        part.name: stage.name if stage.name in names else part.name
        for stage in plan.stages
        for part in stage.parts or (stage,)
    }
    stages = tuple(msgspec.structs.replace(each, parts=()) if each.name in names else each for each in plan.stages)
    return msgspec.structs.replace(plan, stages=stages, seams=_crossing(plan.seams, home))


def seam_s(plan: Plan, inside: Sequence[Stage], outside: Sequence[Stage]) -> float:
    """For how long a request would keep each end busy with what passes between two groups of parts, on two workers."""
    here, there = ({each.name for each in group} for group in (inside, outside))
    ends = ((seam, {seam.sender, seam.receiver}) for seam in plan.seams)
    return sum(seam.busy_s for seam, pair in ends if pair & here and pair & there)


def _homes(stages: Sequence[Stage]) -> dict[str, str]:
    """The stage that each part is in; one without parts is in itself."""
    return {part.name: stage.name for stage in stages for part in stage.parts or (stage,)}


def _crossing(seams: Sequence[Link], home: Mapping[str, str]) -> tuple[Link, ...]:
    """What crosses between stages, of all that crosses between their parts, which are at `home` in these."""
    ends = ((seam, home.get(seam.sender, GATEWAY), home.get(seam.receiver, GATEWAY)) for seam in seams)
    crossing = (
        msgspec.structs.replace(seam, sender=sender, receiver=receiver)
        for seam, sender, receiver in ends
        if sender != receiver or seam.sender == seam.receiver
    )
    return tuple(dict.fromkeys(crossing))
