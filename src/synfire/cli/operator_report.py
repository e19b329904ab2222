"""What the stages did that hold the operators in which the sides of a name differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from synfire.wire.traffic import Rule


class Did(msgspec.Struct, frozen=True):
    """What a stage did, as its worker tells."""

    model: str
    stage: str
    samples: int
    busy_s: float


class Hosting(msgspec.Struct, frozen=True):
    """A worker; without stages where it does not answer."""

    name: str
    stages: tuple[Did, ...] | None = None


class Operated(msgspec.Struct, frozen=True):
    """The stage in which a model has some of the operators, and what it did since it came to its worker, whoever called: copies are counted, too.
    `mean_s` is how long it computed for a sample, None where there was none yet."""

    model: str
    operators: tuple[str, ...]
    stage: str
    worker: str
    samples: int
    mean_s: float | None


def operated(rule: Rule, plans: Iterable[Mapping[str, Any]], workers: Iterable[Hosting]) -> list[Operated]:
    """Those of all models of a rule, in its order, as the plans have them."""
    did = {(each.name, did.model, did.stage): did for each in workers for did in each.stages or ()}
    by_model = {plan["model"]: plan for plan in plans}
    return [each for model in rule.models if model in by_model for each in _of_plan(rule, model, by_model[model], did)]


def _of_plan(
    rule: Rule, model: str, plan: Mapping[str, Any], did: Mapping[tuple[str, str, str], Did]
) -> Iterator[Operated]:
    for stage in plan["stages"]:
        held = tuple(each for each in stage["operators"] if each in rule.operators)
        if held:
            name, worker = stage["name"], stage["worker"]
            found = did.get((worker, model, name), Did(model, name, 0, 0.0))
            mean_s = found.busy_s / found.samples if found.samples else None
            yield Operated(model, held, name, worker, found.samples, mean_s)
