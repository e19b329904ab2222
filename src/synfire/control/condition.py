"""How a model is served, as far as users are concerned. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from synfire.control.state import ModelView
from synfire.wire.condition import Condition
from synfire.wire.recovery import Substituted

Agreements = Mapping[tuple[str, str], float]
"""By model and stage: the share of spikes in which the planned engine and the one that takes over agree."""


def condition(model: ModelView, agreements: Agreements, begins: bool = True) -> Condition:
    """How the model is served, where the deployment `begins` workers itself, or others do. Being moved within milliseconds is no condition: its calls wait, and nobody has to act."""
    substituted = tuple(
        Substituted(model.name, stage, planned, model.plan.engine_of(model.plan.stage(stage)), agreement)
        for stage, planned in model.substituted.items()
        for agreement in (agreements.get((model.name, stage)),)
    )
    if model.asleep:
        return Condition("asleep", "nobody has called it for a while; the next call wakes it, and is held meanwhile")
    if model.failure:
        if model.stopped:
            return Condition("stopped", model.failure, substituted)
        return Condition("waiting", model.failure, substituted, joining=not begins)
    if model.resting:
        names = ", ".join(sorted(model.resting))
        told = f"nobody has called it for a while, and {names} left their workers" if len(model.resting) > 1 else ""
        told = told or f"nobody has called it for a while, and {names} left its worker"
        return Condition(
            "asleep",
            f"{told}; the next call wakes what sleeps, and is held meanwhile",
            substituted,
            resting=tuple(sorted(model.resting)),
        )
    if not begins and not model.routed and not model.settled:
        on = ", ".join(model.plan.workers)
        return Condition("waiting", f"it is being built on {on} for the first time", substituted, joining=True)
    if substituted:
        return Condition("degraded", "; ".join(map(str, substituted)), substituted)
    return Condition()
