"""From models to plans on this machine: measure, cut, place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from synfire.base.errors import UserError
from synfire.deploy.measurements import Measurements
from synfire.deploy.planned import Planned
from synfire.deploy.prices import prices
from synfire.deploy.whole import plan_wholes
from synfire.devices import DEVICES, Cores
from synfire.devices.cores import together
from synfire.engines.engine import ENGINES, PROCESSOR
from synfire.engines.profiles.profile import LATENCY, Profile
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.plan import Demand, Hop, Plan, plan_all, plan_offloaded, rooms
from synfire.plan.costs import parse_bytes
from synfire.plan.place import Room
from synfire.zoo import Model

__all__ = ["DEVICE", "ENGINE", "Planned", "plan_models"]

ENGINE = "cpu"
DEVICE = "cpu"


def plan_models(
    models: Sequence[Model],
    granularity: str,
    workers: int,
    memory: str | None = None,
    apart: bool = False,
    device: str = DEVICE,
    profiles: Mapping[str, Profile] | None = None,
    hop: Hop | None = None,
    threads: int | None = 1,
    rates: Mapping[str, float] | None = None,
) -> tuple[Planned, ...]:
    """Measure each model's operators on this machine (or recall it) and place all models on `workers` workers.

    `memory` is what a worker may hold, such as `2GiB`; `apart` keeps neighbours that share a worker from being fused.
    With a `device` other than the processor, what it takes of each model goes there, and the cut is where that demands it.
    `profiles` say, for some models by name, what else than the usual engine, device and goal is wanted, and `hop` what else hops
    cost than was measured on this machine. Models that an engine runs whole get workers of their own, beside those. Each worker
    computes with so many `threads`; None: with its share of the cores, as `shared_cores` has it. `rates` are how many
    requests a second some models, by name, are to bear; raises `UserError` for one of a device whose events nobody counts.
    """
    if threads is None:
        alone = plan_models(models, granularity, workers, memory, apart, device, profiles, hop, 1, rates)
        share = shared_cores(alone)
        if share == 1:
            return alone
        return plan_models(models, granularity, workers, memory, apart, device, profiles, hop, share, rates)
    check_rates(models, rates or {}, device, profiles or {})
    cut = [model for model in models if not model.graph.whole]
    whole = [model for model in models if model.graph.whole]
    given = rates or {}
    found = _plan_cut(cut, granularity, workers, memory, apart, device, profiles, hop, threads, given) if cut else ()
    engines = {name: profile.engine for name, profile in (profiles or {}).items()}
    found += plan_wholes(whole, parse_bytes(memory) if memory else None, workers if cut else 0, engines)
    by_name = {each.model.name: each for each in found}
    return tuple(by_name[model.name] for model in models)


def check_rates(
    models: Sequence[Model], rates: Mapping[str, float], device: str, profiles: Mapping[str, Profile]
) -> None:
    """Raise `UserError` for a model that is to bear so many requests a second where nobody counts the events that they bring."""
    for model in models:
        where = profiles[model.name].device if model.name in profiles else device
        if model.name in rates and (model.graph.whole or DEVICES[where].room() is None):
            raise UserError(
                f"model {model.name!r} is to bear {rates[model.name]:g} requests a second, and events are counted on chips alone: leave its rate "
                "out, or have it on a device that is one, such as darwin3"
            )


def shared_cores(planned: Sequence[Planned]) -> int:
    """How many threads each worker may compute with where the processor's cores are shared evenly by those that the plans name.

    One core is left to the gateway, which is as busy as a worker of small models. Spares have nothing to compute while they are spares.
    """
    workers = {worker for each in planned for worker in each.plan.workers}
    return max(1, (DEVICES[PROCESSOR].describe().cores - 1) // max(1, len(workers)))


def _plan_cut(
    models: Sequence[Model],
    granularity: str,
    workers: int,
    memory: str | None,
    apart: bool,
    device: str,
    profiles: Mapping[str, Profile] | None,
    hop: Hop | None,
    threads: int,
    rates: Mapping[str, float],
) -> tuple[Planned, ...]:
    wanted = profiles or {}
    places = rooms(workers, parse_bytes(memory) if memory else None)
    graphs = [simplify(flatten(model.graph)) for model in models]
    devices = [wanted[model.name].device if model.name in wanted else device for model in models]
    measurements = Measurements(hop or (prices() if DEVICE in devices else Hop()), threads)
    demands = [
        replace(_demand(model.name, graph, wanted.get(model.name), granularity, apart, measurements), rate=rate)
        for model, graph in zip(models, graphs, strict=True)
        for rate in (rates.get(model.name, 0.0),)
    ]
    here = iter(plan_all([each for each, where in zip(demands, devices, strict=True) if where == DEVICE], places))
    plans: list[Plan] = []
    for each, where in zip(demands, devices, strict=True):
        plans.append(next(here) if where == DEVICE else _offloaded(each, places, where, plans))
    return tuple(
        Planned(model, each.graph, each.costs, plan) for model, each, plan in zip(models, demands, plans, strict=True)
    )


def _offloaded(demand: Demand, places: Sequence[Room], device: str, others: Sequence[Plan]) -> Plan:
    """The plan beside those of other models. Raises as the device's `refusals` does where this machine has none."""
    there = DEVICES[device]
    refused, remarks, room = there.refusals(demand.graph), ENGINES[device].remarks(demand.graph), there.room()
    if room is not None:
        places = [replace(each, cores=room - _taken(others, each.worker, device)) for each in places]
    events = partial(there.events, density=demand.costs.density)
    return plan_offloaded(demand, places, device, refused, remarks, there.cores, events)


def _taken(plans: Sequence[Plan], worker: str, device: str) -> Cores:
    """What of a worker's device these plans take."""
    here = ((plan, stage) for plan in plans for stage in plan.stages if stage.worker == worker)
    return together(plan.need(stage) for plan, stage in here if plan.engine_of(stage) == device)


def _demand(
    name: str, graph: Graph, profile: Profile | None, granularity: str, apart: bool, measurements: Measurements
) -> Demand:
    """What the model asks of the planner, with the costs of the compiled engine that is to run it, or of the usual one."""
    engine = profile.engine if profile and profile.device == DEVICE else ENGINE
    compiled = engine if issubclass(ENGINES[engine], ENGINES[ENGINE]) else ENGINE
    costs = measurements.of(graph, compiled)
    return Demand(
        name, graph, costs, granularity, engine=engine, apart=apart, objective=profile.goal if profile else LATENCY
    )
