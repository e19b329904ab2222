"""When a worker's silence is a failure: a φ-accrual failure detector.

Heartbeats arrive at times T_i; μ and σ are mean and standard deviation of the latest intervals between them. After a
silence of t seconds

    φ(t) = −log₁₀ P(an interval is longer than t) = −log₁₀ Q((t − μ) / σ)

where Q is the upper tail of the normal distribution: with φ = 8 one interval in 10⁸ would be that long, did they follow
it. The worker is suspected when φ reaches `threshold`, that is at T_last + μ + z·σ with Q(z) = 10^−threshold.

Source: N. Hayashibara, X. Défago, R. Yared, T. Katayama, *The φ accrual failure detector*, SRDS 2004, pp. 66–78,
doi:10.1109/RELDIS.2004.1353004. Two things are added:

- σ is never taken for less than `least_deviation_s`: a machine that was quiet for a while is still a machine whose
  scheduler may hold a thread back for some tens of milliseconds.
- A silence of `within_s` is suspected whatever φ says: the bound that can be promised. On machines whose intervals spread
  beyond (within_s − μ) / z it comes first, and false suspicions are then likelier than 10^−threshold.

There is no clock in here: whoever hears the heartbeats and asks brings the time, of one monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist, fmean

from synfire.base.errors import UserError

LEAST_INTERVALS = 2.5
"""A silence that is suspected spans so many intervals at least: one beat may be lost and the next one late."""

_FAR = 30.0
"""Standard deviations from which the tail is computed by its asymptotic series: `erfc` loses its range near 38."""


@dataclass(frozen=True)
class Heartbeats:
    """How workers beat, and how their silence is judged. Raises `UserError` for settings that cannot work together."""

    interval_s: float = 0.05
    """Seconds from one beat to the next as sent; 0.025 to 0.1. Shorter ones cost wake-ups, longer ones bring `within_s` near."""
    within_s: float = 0.3
    """Seconds of silence after which a worker is suspected in any case: well above a scheduler's stalls, well below a client's patience."""
    threshold: float = 8.0
    """φ from which a worker is suspected: the lower, the sooner and the more often in vain. 8 is the paper's cautious end."""
    least_deviation_s: float = 0.025
    """Seconds that intervals are assumed to spread at least; several times a scheduler's time slice of some milliseconds."""
    window: int = 64
    """How many intervals are remembered: some seconds, so that a machine that gets busy is soon known as such."""

    def __post_init__(self) -> None:
        for name in ("interval_s", "within_s", "threshold", "least_deviation_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"heartbeats: {name} is {value:g}; give a number above 0")
        if self.window < 1:
            raise UserError(f"heartbeats: a window of {self.window} remembers nothing; give 1 interval or more")
        if self.threshold > 300:
            raise UserError(f"heartbeats: threshold is {self.threshold:g}, beyond what numbers can tell; 8 is cautious")
        if self.within_s < LEAST_INTERVALS * self.interval_s:
            raise UserError(
                f"heartbeats: beats every {self.interval_s:g} s leave no room to suspect within {self.within_s:g} s; beat "
                f"every {self.within_s / LEAST_INTERVALS:g} s or faster, or allow {LEAST_INTERVALS * self.interval_s:g} s"
            )

    @cached_property
    def reach(self) -> float:
        """z with Q(z) = 10^−threshold: how many deviations beyond the mean a silence becomes suspect."""
        return -NormalDist().inv_cdf(10**-self.threshold)


@dataclass(frozen=True)
class Suspicion:
    """What is known of one worker's heartbeats; `heard` gives the next such knowledge and changes nothing.

    Before the first beat nothing is suspected: hear once when the worker is taken on, and it has to go on beating.
    """

    settings: Heartbeats = Heartbeats()
    last_s: float = -math.inf
    """When the last beat arrived."""
    intervals_s: tuple[float, ...] = ()
    """The latest intervals, oldest first; without any, beats are expected as the settings say."""

    def heard(self, at_s: float) -> Suspicion:
        """The knowledge after a beat that arrived at `at_s`; one that is older than the last beat adds nothing.

        A silence beyond `within_s` was a failure or a pause, no interval: it ends, and is not learnt from.
        """
        interval_s = at_s - self.last_s
        if interval_s < 0:
            return self
        if interval_s > self.settings.within_s:
            return replace(self, last_s=at_s)
        return replace(self, last_s=at_s, intervals_s=(*self.intervals_s, interval_s)[-self.settings.window :])

    def phi(self, now_s: float) -> float:
        """How suspect the silence is at `now_s`: 0 right after a beat, growing without a limit."""
        return _surprise((now_s - self.last_s - self.mean_s) / self.deviation_s) if self.last_s > -math.inf else 0.0

    def suspected_at_s(self) -> float:
        """When the worker is suspected if it keeps silent until then; infinity before the first beat."""
        if self.last_s == -math.inf:
            return math.inf
        return self.last_s + min(self.mean_s + self.settings.reach * self.deviation_s, self.settings.within_s)

    @cached_property
    def mean_s(self) -> float:
        """μ: the mean interval, and no less than what beats are sent at: some that were held up arrive together."""
        return max(fmean(self.intervals_s), self.settings.interval_s) if self.intervals_s else self.settings.interval_s

    @cached_property
    def deviation_s(self) -> float:
        """σ: how far intervals spread, at least `least_deviation_s`."""
        squares = ((interval_s - self.mean_s) ** 2 for interval_s in self.intervals_s or (self.mean_s,))
        return max(math.sqrt(fmean(squares)), self.settings.least_deviation_s)


def _surprise(z: float) -> float:
    """−log₁₀ Q(z), z standard deviations beyond the mean."""
    if z < _FAR:
        return -math.log10(math.erfc(z / math.sqrt(2)) / 2)
    # The series ends on its lower side, so that φ steps up, not down, where it takes over.
    series = 1 - z**-2 + 3 * z**-4 - 15 * z**-6
    return z * z / 2 / math.log(10) + math.log10(z * math.sqrt(2 * math.pi) / series)
