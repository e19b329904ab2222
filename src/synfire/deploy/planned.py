"""What planning gives, and serving takes."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.graph import Graph
from synfire.plan import Costs, Plan
from synfire.zoo import Model


@dataclass(frozen=True)
class Planned:
    """A model with its flat graph, measured costs and plan."""

    model: Model
    graph: Graph
    costs: Costs
    plan: Plan
