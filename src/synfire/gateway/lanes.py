"""Which replicas of a plan's stages a call goes through: of each stage the one whose worker has the least to do for this gateway."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from synfire.plan import Plan
from synfire.plan.replicas import Lane, groups

_LEAST_S = 1e-6
"""What a stage counts of which nobody has predicted how long it takes, in seconds."""


class Lanes:
    """The replicas of one plan, and what their workers have to do. Made and used in one event loop.

    All frames of a call go through the same replicas, since its state is there: so they are chosen once, before its first frame. What a
    worker has to do is counted from then until the call ends, in seconds: by what its stages are predicted to take of a call that goes through
    them, which is more than their share of all calls. Where two have equally much the one is taken that was left out for longer.
    """

    def __init__(self, plan: Plan) -> None:
        self._groups = groups(plan)
        several = {each.name: len(group) for group in self._groups for each in group}
        self._whole_s = {each.name: several.get(each.name, 1) * (each.busy_s or _LEAST_S) for each in plan.stages}
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._calls: Counter[str] = Counter()
        self._turns = itertools.count(1)
        self._chosen: dict[str, int] = {}

    def choose(self, kept: Mapping[str, str], able: Callable[[str], bool]) -> Lane:
        """The replicas with the least to do; where one is `kept`, by the stage, and there, that one. Workers that are not `able` are
        chosen last."""
        return tuple(self._chosen_of(place, kept, able) for place in range(len(self._groups)))

    def following(self, session: str) -> Lane:
        """Replicas that follow from a name alone: every call of a session finds them again, also where nothing is kept of it."""
        number = zlib.crc32(session.encode())
        found = []
        for group in self._groups:
            number, place = divmod(number, len(group))
            found.append(place)
        return tuple(found)

    def take(self, plan: Plan, work: float) -> None:
        """A call begins of so much `work`, in samples by steps, along a lane's `plan`."""
        for stage in plan.stages:
            self._busy_s[stage.worker] += work * self._whole_s[stage.name]
        self._calls.update(plan.workers)

    def give_back(self, plan: Plan, work: float) -> None:
        """The call has ended. Where a worker has none left nothing is, whatever was rounded on the way."""
        self._calls.subtract(plan.workers)
        for stage in plan.stages:
            left_s = self._busy_s[stage.worker] - work * self._whole_s[stage.name]
            self._busy_s[stage.worker] = left_s if self._calls[stage.worker] else 0.0

    def _chosen_of(self, place: int, kept: Mapping[str, str], able: Callable[[str], bool]) -> int:
        group = self._groups[place]
        name = kept.get(group[0].original, "")
        number = next((n for n, each in enumerate(group) if each.name == name), -1)
        if number < 0:
            number = min(
                range(len(group)),
                key=lambda n: (
                    not able(group[n].worker),
                    self._busy_s[group[n].worker],
                    self._chosen.get(group[n].name, 0),
                ),
            )
        self._chosen[group[number].name] = next(self._turns)
        return number
