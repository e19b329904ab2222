"""From models to plans on this machine: measure, cut, place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synfire.engines.engine import ENGINES
from synfire.engines.measure import measured
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.plan import Costs, Demand, Plan, plan_all, rooms
from synfire.plan.costs import parse_bytes
from synfire.zoo import Model, sample

ENGINE = "cpu"


@dataclass(frozen=True)
class Planned:
    """A model with its flat graph, measured costs and plan."""

    model: Model
    graph: Graph
    costs: Costs
    plan: Plan


def plan_models(
    models: Sequence[Model], granularity: str, workers: int, memory: str | None = None, apart: bool = False
) -> tuple[Planned, ...]:
    """Measure each model's operators on this machine (or recall it) and place all models on `workers` workers.

    `memory` is what a worker may hold, such as `2GiB`; `apart` keeps neighbours that share a worker from being fused.
    """
    places = rooms(workers, parse_bytes(memory) if memory else None)
    graphs = [simplify(flatten(model.graph)) for model in models]
    costs = [measured(graph, ENGINES[ENGINE](), sample(graph)) for graph in graphs]
    demands = [
        Demand(model.name, graph, cost, granularity, engine=ENGINE, apart=apart)
        for model, graph, cost in zip(models, graphs, costs, strict=True)
    ]
    return tuple(
        Planned(model, graph, cost, plan)
        for model, graph, cost, plan in zip(models, graphs, costs, plan_all(demands, places), strict=True)
    )
