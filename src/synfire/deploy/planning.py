"""From models to plans on this machine: measure, cut, place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synfire.devices import DEVICES
from synfire.engines.engine import ENGINES
from synfire.engines.measure import measured
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.plan import Costs, Demand, Plan, plan_all, plan_offloaded, rooms
from synfire.plan.costs import parse_bytes
from synfire.zoo import Model, sample

ENGINE = "cpu"
DEVICE = "cpu"


@dataclass(frozen=True)
class Planned:
    """A model with its flat graph, measured costs and plan."""

    model: Model
    graph: Graph
    costs: Costs
    plan: Plan


def plan_models(
    models: Sequence[Model],
    granularity: str,
    workers: int,
    memory: str | None = None,
    apart: bool = False,
    device: str = DEVICE,
) -> tuple[Planned, ...]:
    """Measure each model's operators on this machine (or recall it) and place all models on `workers` workers.

    `memory` is what a worker may hold, such as `2GiB`; `apart` keeps neighbours that share a worker from being fused.
    With a `device` other than the processor, what it takes of each model goes there, and the cut is where that demands it.
    """
    places = rooms(workers, parse_bytes(memory) if memory else None)
    graphs = [simplify(flatten(model.graph)) for model in models]
    costs = [measured(graph, ENGINES[ENGINE](), sample(graph)) for graph in graphs]
    demands = [
        Demand(model.name, graph, cost, granularity, engine=ENGINE, apart=apart)
        for model, graph, cost in zip(models, graphs, costs, strict=True)
    ]
    if device == DEVICE:
        plans = plan_all(demands, places)
    else:
        there = DEVICES[device]
        plans = tuple(plan_offloaded(each, places, device, there.refusals(each.graph)) for each in demands)
    return tuple(
        Planned(model, graph, cost, plan) for model, graph, cost, plan in zip(models, graphs, costs, plans, strict=True)
    )
