"""How many replicas of each model, or of single stages, `synfire serve` is to run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from synfire.base.durations import parse_duration
from synfire.base.errors import UnknownName, UserError
from synfire.plan.plan import IDLE_S
from synfire.plan.replicas import MOST_REPLICAS, Range
from synfire.store.names import of_replica, replica
from synfire.zoo import Model

_NUMBER = re.compile(r"[1-9][0-9]?")
_RANGE = re.compile(r"([0-9]|[1-9][0-9])(?:\.\.([1-9][0-9]?))?(?:@(.+))?")


@dataclass(frozen=True)
class Copies:
    """How often everything is to run: each model, or all by an empty name, and stages, by model."""

    models: dict[str, int]
    stages: dict[str, dict[str, Range]]

    def of_stages(self, models: Sequence[str]) -> dict[str, dict[str, Range]]:
        """The stages of these models, each of which may be a replica itself."""
        return {name: self.stages[of_replica(name)] for name in models if of_replica(name) in self.stages}


def copies_of(models: Sequence[Model], given: Sequence[str]) -> Copies:
    """What `[MODEL=]N` and `MODEL.STAGE=N[..M][@TIME]` say. Raises `UserError` for another form, and `UnknownName` for another model. Which stages there
    are is known when the models are planned."""
    names = [each.name for each in models]
    found = Copies({}, {})
    for each in given:
        name, _, number = each.rpartition("=")
        model = name if name in names else max((m for m in names if name.startswith(f"{m}.")), key=len, default="")
        if name and not model:
            raise UnknownName.among("model", name, names)
        if name == model:
            taken = name in found.models
            found.models[name] = _count(each, number, names)
        else:
            stages, stage = found.stages.setdefault(model, {}), name.removeprefix(f"{model}.")
            taken = stage in stages
            stages[stage] = _range(each, number)
        if taken:
            raise UserError(f"--replicas says how many {name or 'of each'} twice; say it once")
    return found


def _count(given: str, number: str, names: Sequence[str]) -> int:
    if not _NUMBER.fullmatch(number):
        raise UserError(
            f"--replicas {given} is not [MODEL=]N, such as {names[0] if names else 'net'}=2; N is from 1 to {MOST_REPLICAS}"
        )
    return int(number)


def _range(given: str, numbers: str) -> Range:
    found = _RANGE.fullmatch(numbers)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    idle_s = parse_duration(found[3], "--replicas") if found and found[3] else IDLE_S
    if most < max(least, 1) or (least and found and found[3]):
        raise UserError(
            f"--replicas {given} is not MODEL.STAGE=N, or MODEL.STAGE=N..M for as many of these as its work takes; both are from 1 to "
            f"{MOST_REPLICAS}, but for 0..M, or 0..M@10m, with which it sleeps when nobody has called for so long"
        )
    if math.isinf(idle_s):
        raise UserError(f"--replicas {given} would never sleep; write 1..{most}, or a time such as 10m behind the @")
    return Range(least, most, idle_s)


def copied(models: Sequence[Model], given: Sequence[str]) -> set[str]:
    """The models of which replicas are asked for, or of a stage of which."""
    names = [each.rpartition("=")[0] for each in given]
    return {each.name for each in models for name in names if name == each.name or name.startswith(f"{each.name}.")}


def replicated(models: Sequence[Model], given: Sequence[str]) -> list[Model]:
    """The models with their replicas; a model may say itself how many are usual. Raises as `copies_of` does."""
    counts = copies_of(models, given).models
    usual = {each.name: counts.get("", int(each.graph.metadata.get("replicas", 1))) for each in models}
    wanted = {each.name: counts.get(each.name, usual[each.name]) for each in models}
    rounds = range(1, max(wanted.values(), default=0) + 1)
    return [
        replace(each, name=replica(each.name, n)) if wanted[each.name] > 1 else each
        for n in rounds
        for each in models
        if n <= wanted[each.name]
    ]
