"""Where the stages of a variant go: beside those of the model that it is a variant of, and what differs to a worker apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from synfire.base.errors import TemporaryError
from synfire.control.placement import NOBODY, heir
from synfire.control.state import SPARE, ModelView, State
from synfire.deploy.planned import Planned
from synfire.plan import Plan, rooms
from synfire.plan.replicas import busy_s
from synfire.plan.variants import beside, changed_stages, differing
from synfire.store.names import of_replica
from synfire.wire.traffic import Rule


def base_of(state: State, model: str, variant: str) -> ModelView:
    """The model that another one is to be a variant of, of several replicas the first. Raises `TemporaryError` while it is on no workers."""
    found = [each for name, each in sorted(state.models.items()) if of_replica(name) == model]
    there = [each for each in found if _is_there(state, each)]
    if not there:
        why = "is on no workers now" if found else "is not served"
        raise TemporaryError(
            f"{variant} is to be a variant of {model}, which {why}; it comes as soon as that one is there"
        )
    return there[0]


def placed(state: State, base: ModelView, variant: str, changed: Sequence[str]) -> Plan:
    """The plan of a variant of a model that is served. The stages with `changed` operators go to whoever would take them after a loss, but to
    none that stands by for losses, nor, where others have room, to where those are that they stand for.

    Raises `TemporaryError` where nobody has room for them.
    """
    plan = beside(base.plan, variant, changed, NOBODY)
    own, replaced = (changed_stages(each, changed) for each in (plan, base.plan))
    if not own:
        return plan
    view, spares = ModelView(plan), [each.name for each in state.workers.values() if each.role == SPARE]
    trial = state.with_model(view)
    target = heir(trial, view, own, [*spares, *(each.worker for each in replaced)]) or heir(trial, view, own, spares)
    if not target:
        raise TemporaryError(
            f"no worker has room for {', '.join(each.name for each in own)} of {of_replica(variant)}, which it does not share with {of_replica(base.name)}; add "
            "workers, or allow them more memory"
        )
    return beside(base.plan, variant, changed, target)


def share_stages(planned: Sequence[Planned], rules: Sequence[Rule], workers: int) -> tuple[Planned, ...]:
    """The models of a deployment that begins. Those of which a rule says in which operators alone they differ share all other stages with the
    first side of it; what differs goes to the least busy of the `workers`, and not to where that is which it stands for, where there are others.

    Raises `UserError` where models are not the same but for some operators.
    """
    found = {each.model.name: each for each in planned}
    for rule in rules:
        sides = [found[model] for model in rule.models if model in found and not found[model].graph.whole]
        for each in sides[1:] if rule.operators else ():
            plans = [other.plan for other in found.values() if other is not each]
            found[each.model.name] = _beside(sides[0], each, plans, workers)
    return tuple(found[each.model.name] for each in planned)


def _beside(first: Planned, variant: Planned, others: Sequence[Plan], workers: int) -> Planned:
    changed = differing(first.model.name, first.graph, variant.model.name, variant.graph)
    replaced = {each.worker for each in changed_stages(first.plan, changed)}
    load_s: defaultdict[str, float] = defaultdict(float)
    for plan in others:
        for worker, seconds in busy_s(plan).items():
            load_s[worker] += seconds
    names = [each.worker for each in rooms(workers)]
    apart = [name for name in names if name not in replaced] or names
    target = min(apart, key=lambda name: load_s[name])
    return replace(variant, plan=beside(first.plan, variant.model.name, changed, target))


def _is_there(state: State, model: ModelView) -> bool:
    """Whether it is on workers, and all of these live."""
    placed = not (model.fresh or model.asleep or model.failure)
    return placed and all(state.living(worker) for worker in model.plan.workers)
