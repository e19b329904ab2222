"""How many warm spares keep every slot served: one pool shared by all models, or spares dedicated to each.

A **slot** is a place in service that one unit fills: a worker, or a chip's cores. A pool has N slots and K spares, and any
spare can fill any slot. While j of its N + K units are failed,

    λ_j = min(N, N+K−j)·λ + max(K−j, 0)·λ_s        how often another one fails
    μ_j = min(j, R)·μ                              how often one is repaired, by R crews
    p_j = p_0 · ∏_{i<j} λ_i / μ_{i+1},  Σ_j p_j = 1    the share of time with j failed
    P(all served) = Σ_{j≤K} p_j

That is the machine-repair model with warm standby (K. S. Trivedi, *Probability and Statistics with Reliability, Queuing,
and Computer Science Applications*, 2nd ed., Wiley 2002, chapter 8). Units fail independently and a spare takes over at
once: the milliseconds of an adoption are nothing beside the hours of a repair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import NDArray

from synfire.base.errors import UserError

MOST_SPARES = 10_000
"""A target that so many spares do not reach is called out of reach."""


@dataclass(frozen=True)
class Rates:
    """How often units fail and how fast they are repaired. Hours throughout; lifetimes and repairs are exponential.

    The defaults are assumptions for planning, not measurements. Raises `UserError` for numbers that mean nothing.
    """

    mttf_h: float = 2000.0
    """Mean hours in service until a unit fails, 1/λ. Between a chip with many memory upsets and a healthy accelerator."""
    mttr_h: float = 24.0
    """Mean hours until a failed unit is back as a spare, 1/μ. A person comes the next day."""
    standby: float = 0.3
    """How often a spare fails, as a share of a unit in service, λ_s/λ. It has power and memory, but does no work."""
    crews: int | None = None
    """How many units are repaired at the same time, R. `None`: every failed unit has a crew of its own."""

    def __post_init__(self) -> None:
        for what, hours in (("failure", self.mttf_h), ("repair", self.mttr_h)):
            if not (math.isfinite(hours) and hours > 0):
                raise UserError(f"a mean time to {what} of {hours:g} h cannot be; give a number of hours above 0")
        if not 0 <= self.standby <= 1:
            raise UserError(f"on standby a spare fails 0 to 1 times as often as in service, not {self.standby:g} times")
        if self.crews is not None and self.crews < 1:
            raise UserError(f"with {self.crews} crews nothing is ever repaired; give 1 or more")


@dataclass(frozen=True)
class Odds:
    """How time is shared out: every slot `served`, or at least one of them `short` of a unit.

    Both are kept, though they add up to 1, because 1 − 1e-17 is 1. `a & b`: the two pools together.
    """

    served: float
    short: float

    def __and__(self, other: Odds) -> Odds:
        return Odds(self.served * other.served, self.short + self.served * other.short)

    def reaches(self, target: float) -> bool:
        """Whether every slot is served for the share `target` of the time."""
        return self.short <= 1 - target


@dataclass(frozen=True)
class Sizing:
    """So many shared `spares` reach the target, with these `odds`, and what spares dedicated to models give, model by model.

    `same` deals out the same number as well as can be; `enough` are the least that reach the target.
    """

    spares: int
    odds: Odds
    same: tuple[int, ...]
    same_odds: Odds
    enough: tuple[int, ...]
    enough_odds: Odds


def size(models: Sequence[int], target: float, rates: Rates) -> Sizing:
    """The spares for models of so many slots each, so that all are served for the share `target` of the time.

    Raises `UserError` as `spares_for` does.
    """
    number = spares_for(sum(models), target, rates)
    same, enough = deal(models, number, rates), dedicated_for(models, target, rates)
    return Sizing(
        number,
        shared(sum(models), number, rates),
        same,
        dedicated(models, same, rates),
        enough,
        dedicated(models, enough, rates),
    )


def failed_units(slots: int, spares: int, rates: Rates) -> NDArray[np.float64]:
    """`p_j` for j = 0 … slots + spares: the share of time in which so many units are failed.

    Raises `UserError` for no slot or a negative number of spares.
    """
    if slots < 1 or spares < 0:
        raise UserError(f"a pool of {slots} slots and {spares} spares cannot be; give 1 slot or more, 0 spares or more")
    failed = np.arange(slots + spares)
    falls = np.minimum(slots, slots + spares - failed) + np.maximum(spares - failed, 0) * rates.standby
    mends = np.minimum(failed + 1, rates.crews or slots + spares)
    # Logarithms, because the products of a large pool leave the range of a float.
    weights = np.concatenate([[0.0], np.cumsum(np.log(falls * rates.mttr_h) - np.log(mends * rates.mttf_h))])
    shares = np.exp(weights - weights.max())
    return shares / shares.sum()


@lru_cache(maxsize=4096)
def shared(slots: int, spares: int, rates: Rates) -> Odds:
    """The odds of one pool whose spares serve all of its slots."""
    shares = failed_units(slots, spares, rates)
    return Odds(float(shares[: spares + 1].sum()), float(shares[spares + 1 :].sum()))


def dedicated(models: Sequence[int], spares: Sequence[int], rates: Rates) -> Odds:
    """The odds that every slot of every model is served, when model i has `models[i]` slots and `spares[i]` of its own.

    Each model is a pool with a repair system of its own, `rates.crews` crews included.
    """
    return reduce(Odds.__and__, (shared(n, k, rates) for n, k in zip(models, spares, strict=True)))


def deal(models: Sequence[int], spares: int, rates: Rates) -> tuple[int, ...]:
    """The best way to dedicate so many spares: each goes where it adds most to the odds of all models together."""
    dealt = [0] * len(models)
    for _ in range(spares):
        dealt[_neediest(models, dealt, rates)] += 1
    return tuple(dealt)


def spares_for(slots: int, target: float, rates: Rates) -> int:
    """The least number of shared spares that keeps every slot served for the share `target` of the time.

    Raises `UserError` for a target outside 0 to 1, and for one that no number of spares reaches.
    """
    _check_target(target)
    if not shared(slots, MOST_SPARES, rates).reaches(target):
        raise _out_of_reach([slots], target, rates)
    low, high = -1, MOST_SPARES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shared(slots, middle, rates).reaches(target) else (middle, high)
    return high


def dedicated_for(models: Sequence[int], target: float, rates: Rates) -> tuple[int, ...]:
    """The least dedicated spares, model by model, with which all slots together are served for the share `target`.

    Raises `UserError` as `spares_for` does.
    """
    _check_target(target)
    if not dedicated(models, [MOST_SPARES] * len(models), rates).reaches(target):
        raise _out_of_reach(models, target, rates)
    dealt = [0] * len(models)
    while not dedicated(models, dealt, rates).reaches(target):
        dealt[_neediest(models, dealt, rates)] += 1
    return tuple(dealt)


def _neediest(models: Sequence[int], dealt: Sequence[int], rates: Rates) -> int:
    """Which model multiplies the odds of all by most when it gets one spare more."""

    def gain(i: int) -> float:
        now, then = shared(models[i], dealt[i], rates), shared(models[i], dealt[i] + 1, rates)
        # The smaller of the two tells the difference: the larger one has lost it to rounding.
        gained = then.served - now.served if now.served < now.short else now.short - then.short
        return gained / max(now.served, 1e-300)

    return max(range(len(models)), key=gain)


def _check_target(target: float) -> None:
    if not 0 < target < 1:
        raise UserError(f"a target of {100 * target:g} % is out of range; ask for more than 0 and less than 100 %")


def _out_of_reach(models: Sequence[int], target: float, rates: Rates) -> UserError:
    wanted = f"keeps {sum(models)} slots served {100 * target:.10g} % of the time"
    if rates.crews is None:
        return UserError(f"no number of spares up to {MOST_SPARES} {wanted}; size a smaller fleet, or ask for less")
    fails, mends = 24 * max(models) / rates.mttf_h, 24 * rates.crews / rates.mttr_h
    return UserError(
        f"no number of spares {wanted}: in {max(models)} slots {fails:.3g} units fail a day, and crews={rates.crews} "
        f"repair {mends:.3g} at most; add crews, repair faster, or ask for less"
    )
