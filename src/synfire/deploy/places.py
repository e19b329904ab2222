"""Plans for workers that join: a plan names places, and the controller finds a worker for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from synfire.deploy.planned import Planned
from synfire.deploy.planning import DEVICE, check_rates, plan_models
from synfire.deploy.whole import plan_whole
from synfire.engines.profiles.profile import Profile
from synfire.graph import flatten
from synfire.plan import Plan
from synfire.plan.plan import Stage
from synfire.zoo import Model

AS_FEW = ("auto", "model")
"""Granularities that ask for no more than one worker."""


def plan_places(
    models: Sequence[Model],
    granularity: str,
    workers: int | None = None,
    memory: str | None = None,
    apart: bool = False,
    device: str = DEVICE,
    profiles: Mapping[str, Profile] | None = None,
    rates: Mapping[str, float] | None = None,
) -> tuple[Planned, ...]:
    """Cut each model, by costs measured on this machine, into as many places as `workers` says: by default one for each stage where the
    `granularity` names a cut, else one. Raises as `synfire.deploy.planning.plan_models` does.
    """
    check_rates(models, rates or {}, device, profiles or {})
    found = []
    for each in models:
        profile = (profiles or {}).get(each.name)
        if each.graph.whole:
            planned = plan_whole(each, "worker-0", profile.engine if profile else "")
        else:
            count = workers or (1 if granularity in AS_FEW else len(flatten(each.graph).operators))
            wanted = {each.name: profile} if profile else {}
            (planned,) = plan_models([each], granularity, count, memory, apart, device, wanted, rates=rates)
        found.append(replace(planned, plan=_of_places(planned.plan)))
    return tuple(found)


def _of_places(plan: Plan) -> Plan:
    """The plan with places for its workers: no worker that joins is called so."""
    names = {worker: f"place-{n}" for n, worker in enumerate(plan.workers)}
    return msgspec.structs.replace(plan, stages=tuple(_placed(each, names[each.worker]) for each in plan.stages))


def _placed(stage: Stage, place: str) -> Stage:
    parts = tuple(_placed(each, place) for each in stage.parts)
    return msgspec.structs.replace(stage, worker=place, parts=parts)
