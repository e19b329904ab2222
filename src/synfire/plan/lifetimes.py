"""Pools of spares played unit by unit, to check the formula of `synfire.plan.spares` against.

Nothing of the formula is used: units live, fail, wait for a crew, are repaired and take their place again, and the time
with an empty slot is added up. Many runs are played side by side, one event of each at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synfire.base.errors import UserError
from synfire.plan.spares import Rates

RUNS = 500
"""Independent runs; their spread gives the confidence interval."""

FEWEST_RUNS = 30
"""Where much happens in a repair's time, runs are fewer and longer; below these the spread could not be told."""

WORK = 10**9
"""Units that are looked at in all: some seconds."""

WARM_UP = 0.2
"""The share of each run that is not counted, because all units begin healthy."""

SHORTEST = 25
"""A run is at least so many repairs long, its warm-up then five of them: what is left of the beginning is below 1 %."""

SERVING, SPARE, IN_REPAIR, WAITING = range(4)
"""Where a unit can be."""

_NEVER_H = 1e300
"""Mean life of a unit that nothing happens to; finite, because a draw of 0 times infinity would be no number."""

Runs = NDArray[np.int64]


@dataclass(frozen=True)
class Played:
    """What a simulation saw: every slot `served` for this share of the time, with its 95 % confidence interval.

    `hours` are those counted, of all runs together; `outages` how often in them a slot was left empty.
    """

    served: float
    low: float
    high: float
    hours: float
    outages: int
    seed: int


def play(slots: int, spares: int, rates: Rates, seed: int = 0, events: int = 2_000_000) -> Played:
    """Play a pool for about so many failures and repairs, fewer of a large one. The same seed gives the same answer.

    Rare outages need many events: with a dozen `outages` seen, the interval is about as wide as what it tells. Crews that
    hardly keep up take long to settle, and the simulation is then too kind. Raises `UserError` for a pool too large to play.
    """
    units, shortest_h = slots + spares, SHORTEST * rates.mttr_h
    fails = (slots + spares * rates.standby) / rates.mttf_h
    per_hour = 2 * min(fails, (rates.crews or units) / rates.mttr_h)
    all_h = min(events, WORK // units) / per_hour
    runs = max(FEWEST_RUNS, min(RUNS, int(all_h / (4 * shortest_h))))
    horizon_h = all_h / runs
    if horizon_h < shortest_h:
        raise UserError(
            f"{units} units are too many to simulate: the runs would be {horizon_h:.3g} h long, {SHORTEST} repairs take "
            f"{shortest_h:.3g} h; simulate a smaller fleet with the same rates"
        )
    fleet = _Fleet(runs, slots, spares, rates, np.random.default_rng(seed))
    tally = _Tally(runs, WARM_UP * horizon_h, horizon_h)
    while fleet.now_h.min() < horizon_h:
        before_h, short = fleet.now_h, fleet.serving < slots
        fleet.advance()
        tally.add(before_h, fleet.now_h, short, fleet.serving < slots)
    return tally.summary(seed, rates.mttr_h)


class _Fleet:
    """All runs at once: `place[r, u]` of unit u in run r, and `due_h[r, u]`, when it will fail or be repaired."""

    def __init__(self, runs: int, slots: int, spares: int, rates: Rates, rng: np.random.Generator) -> None:
        idle_h = rates.mttf_h / rates.standby if rates.standby else _NEVER_H
        self._mean_h = np.array([rates.mttf_h, idle_h, rates.mttr_h, _NEVER_H])
        self._slots = slots
        self._crews = rates.crews or slots + spares
        self._rng = rng
        self._all = np.arange(runs)
        self.now_h = np.zeros(runs)
        self.serving = np.full(runs, slots)
        self._repairs = np.zeros(runs, np.int64)
        self._place = np.tile(np.repeat([SERVING, SPARE], [slots, spares]), (runs, 1))
        self._due_h = rng.standard_exponential(self._place.shape) * self._mean_h[self._place]

    def advance(self) -> None:
        """Let the next thing happen in every run: one unit fails, or one is repaired."""
        units = self._due_h.argmin(axis=1)
        self.now_h = self._due_h[self._all, units]
        places = self._place[self._all, units]
        fallen, mended = self._all[places != IN_REPAIR], self._all[places == IN_REPAIR]
        self._fail(fallen, units[fallen], places[fallen])
        self._mend(mended, units[mended])

    def _fail(self, runs: Runs, units: Runs, places: Runs) -> None:
        """A crew takes the unit, where one is free; the first spare takes its slot, where there is one."""
        busy = self._repairs[runs] >= self._crews
        self._put(runs[busy], units[busy], WAITING)
        self._put(runs[~busy], units[~busy], IN_REPAIR)
        self._repairs[runs[~busy]] += 1
        emptied = runs[places == SERVING]
        self.serving[emptied] -= 1
        filled = self._move(emptied, SPARE, SERVING)
        self.serving[filled] += 1

    def _mend(self, runs: Runs, units: Runs) -> None:
        """The unit fills an empty slot, or becomes a spare; its crew takes the next one that waits."""
        empty = self.serving[runs] < self._slots
        self._put(runs[empty], units[empty], SERVING)
        self._put(runs[~empty], units[~empty], SPARE)
        self.serving[runs[empty]] += 1
        self._repairs[runs] -= 1
        taken = self._move(runs, WAITING, IN_REPAIR)
        self._repairs[taken] += 1

    def _move(self, runs: Runs, source: int, target: int) -> Runs:
        """Move the first unit at `source` to `target`, in each run that has one; those runs."""
        there = self._place[runs] == source
        found = there.any(axis=1)
        self._put(runs[found], there.argmax(axis=1)[found], target)
        return runs[found]

    def _put(self, runs: Runs, units: Runs, place: int) -> None:
        """Give the units their place, and draw how long until something happens to them there."""
        self._place[runs, units] = place
        self._due_h[runs, units] = self.now_h[runs] + self._mean_h[place] * self._rng.standard_exponential(len(runs))


class _Tally:
    """Hours with an empty slot, run by run, from the warm-up's end to the horizon."""

    def __init__(self, runs: int, begin_h: float, end_h: float) -> None:
        self._begin_h, self._end_h = begin_h, end_h
        self._short_h = np.zeros(runs)
        self._outages = 0

    def add(
        self,
        before_h: NDArray[np.float64],
        now_h: NDArray[np.float64],
        short: NDArray[np.bool_],
        after: NDArray[np.bool_],
    ) -> None:
        """Count what passed from one event to the next; `short` held in between, `after` holds from now on."""
        passed_h = np.clip(now_h, self._begin_h, self._end_h) - np.clip(before_h, self._begin_h, self._end_h)
        self._short_h += np.where(short, passed_h, 0.0)
        counted = (now_h >= self._begin_h) & (now_h < self._end_h)
        self._outages += int((after & ~short & counted).sum())

    def summary(self, seed: int, mttr_h: float) -> Played:
        """The mean over runs, ± 1.96 standard errors.

        Where no outage was seen the interval goes by the rule of three: fewer than 3 in these hours, at 95 %, each no
        longer than a repair.
        """
        run_h = self._end_h - self._begin_h
        short = self._short_h / run_h
        mean, error, hours = float(short.mean()), float(short.std(ddof=1)) / len(short) ** 0.5, run_h * len(short)
        margin = 1.96 * error if self._outages else 3 * mttr_h / hours
        low, high = max(1 - mean - margin, 0.0), min(1 - mean + margin, 1.0)
        return Played(1 - mean, low, high, hours, self._outages, seed)
