"""From models to plans on this machine: measure, cut, place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
) -> tuple[Planned, ...]:
    """Measure each model's operators on this machine (or recall it) and place all models on `workers` workers.

    `memory` is what a worker may hold, such as `2GiB`; `apart` keeps neighbours that share a worker from being fused.
    With a `device` other than the processor, what it takes of each model goes there, and the cut is where that demands it.
    `profiles` say, for some models by name, what else than the usual engine, device and goal is wanted, and `hop` what else hops
    cost than was measured on this machine. Models that an engine runs whole get workers of their own, beside those. Each worker
    computes with so many `threads`; None: with its share of the cores, as `shared_cores` has it.
    """
    if threads is None:
        alone = plan_models(models, granularity, workers, memory, apart, device, profiles, hop)
        share = shared_cores(alone)
        if share == 1:
            return alone
        return plan_models(models, granularity, workers, memory, apart, device, profiles, hop, share)
    cut = [model for model in models if not model.graph.whole]
    whole = [model for model in models if model.graph.whole]
    found = _plan_cut(cut, granularity, workers, memory, apart, device, profiles, hop, threads) if cut else ()
    engines = {name: profile.engine for name, profile in (profiles or {}).items()}
    found += plan_wholes(whole, parse_bytes(memory) if memory else None, workers if cut else 0, engines)
    by_name = {each.model.name: each for each in found}
    return tuple(by_name[model.name] for model in models)


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
) -> tuple[Planned, ...]:
    wanted = profiles or {}
    places = rooms(workers, parse_bytes(memory) if memory else None)
    graphs = [simplify(flatten(model.graph)) for model in models]
    devices = [wanted[model.name].device if model.name in wanted else device for model in models]
    measurements = Measurements(hop or (prices() if DEVICE in devices else Hop()), threads)
    demands = [
        _demand(model.name, graph, wanted.get(model.name), granularity, apart, measurements)
        for model, graph in zip(models, graphs, strict=True)
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
    return plan_offloaded(demand, places, device, refused, remarks, there.cores)


def _taken(plans: Sequence[Plan], worker: str, device: str) -> Cores:
    """The cores of a worker's device that these plans take."""
    here = ((plan, stage) for plan in plans for stage in plan.stages if stage.worker == worker)
    return together(stage.cores for plan, stage in here if plan.engine_of(stage) == device)


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
