"""What planning gives, and serving takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synfire.devices import DEVICES
from synfire.engines.engine import PROCESSOR
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


def devices_of(plans: Iterable[Plan]) -> dict[str, str]:
    """The device of every worker on which the plans put stages for one."""
    engines = {stage.worker: plan.engine_of(stage) for plan in plans for stage in plan.stages if stage.engine}
    return {worker: engine for worker, engine in engines.items() if engine != PROCESSOR and engine in DEVICES}
