"""Has single stages sleep when nobody calls their model, and wakes them: the other stages stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from synfire.base.clock import Clock, SystemClock
from synfire.base.log import LOGGER
from synfire.control.scaling import resting_for
from synfire.control.state import ModelView
from synfire.store.names import parted


class StageSleeper:
    """Made and used in one event loop. `models` are those of the deployment; `tell` is told, by model, which of its stages are to sleep."""

    def __init__(
        self,
        models: Callable[[], Iterable[ModelView]],
        tell: Callable[[str, frozenset[str]], None],
        clock: Clock | None = None,
    ) -> None:
        self._models = models
        self._tell = tell
        self._clock = clock or SystemClock()
        self._called_s: dict[str, float] = {}

    def look(self, calls: Mapping[str, int]) -> None:
        """Have every stage sleep, or wake, that is to do so now. `calls` are those that are there, by the names of models as callers have them;
        a call of any replica is one of each."""
        now_s = self._clock.now_s()
        views = [each for each in self._models() if each.resting or each.sleepers]
        waiting = {each.name: calls.get(parted(each.name, "")[0], 0) for each in views}
        self._called_s = {
            each.name: now_s if waiting[each.name] else self._called_s.get(each.name, _begun_s(each, now_s))
            for each in views
        }
        for each in views:
            wanted = resting_for(each.sleepers, self._called_s[each.name], waiting[each.name], now_s)
            if each.failure or not each.settled:
                wanted &= each.resting
            if wanted != each.resting and not (each.asleep or each.fresh):
                LOGGER.info("model %s: %s sleep, %s did", each.name, _named(wanted), _named(each.resting))
                self._tell(each.name, wanted)


def _begun_s(model: ModelView, now_s: float) -> float:
    """When somebody called what nobody has looked at before, as far as is known: what sleeps does so for its time at least."""
    return now_s - max((each.idle_s for each in model.plan.stages if each.original in model.resting), default=0.0)


def _named(stages: frozenset[str]) -> str:
    return ", ".join(sorted(stages)) or "none"
