"""How many places no worker fills, where all workers are begun by others: whoever begins them may go by it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from synfire.control.placement import device_of, outlook, strays
from synfire.control.stage_replicas import unlike
from synfire.control.state import ModelView, State


def vacancies(state: State) -> Mapping[str, int]:
    """The places, by the kind of worker, of models that are not served for want of one, and of replicas of stages that nobody has taken.

    Workers that host nothing fill none yet, so as many workers as host stages and as there are vacancies are of use. Spares that are missing
    are none.
    """
    found: Counter[str] = Counter()
    if state.begins:
        return found
    for model in state.models.values():
        if model.failure and not model.asleep:
            found.update(dict(_places(state, model)))
    for model, stage, missing in unlike(state):
        found[device_of(state, model.plan, (stage,))] += max(0, missing)
    return {kind: count for kind, count in sorted(found.items()) if count > 0}


def _places(state: State, model: ModelView) -> Iterator[tuple[str, int]]:
    """The places of a model that is not served: what one worker hosted before goes to one. A place that a worker has room for that hosts
    others is none."""
    if model.fresh:
        seen = outlook(state, model)
        busy = Counter(state.workers[name].kind for name in seen.free if state.load(name))
        for kind, count in seen.places.items():
            yield kind, max(0, count - busy[kind])
        return
    lost = strays(state, model)
    homes = dict.fromkeys(stage.worker for stage in lost)
    kinds = (device_of(state, model.plan, [each for each in lost if each.worker == home]) for home in homes)
    yield from Counter(kinds).items()
