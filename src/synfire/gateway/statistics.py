"""What the gateway counts per model; metrics and the statistics extension read it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from synfire.base.errors import (
    DeadlineExceeded,
    Overloaded,
    PermanentError,
    TemporaryError,
    UserError,
)

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histogram: from a fast echo to the default deadline."""

OUTCOMES = ("ok", "refused", "overloaded", "late", "temporary", "permanent", "cancelled", "bug")


def quantile_s(buckets: Sequence[int], share: float) -> float | None:
    """The latency that so great a share of calls did not exceed, interpolated within its bucket; None where there were no calls. Beyond
    the last bound it is that."""
    wanted, below, lower_s = share * sum(buckets), 0, 0.0
    for bound_s, count in zip(BUCKETS_S, buckets, strict=False):
        if count and below + count >= wanted:
            return lower_s + (bound_s - lower_s) * (wanted - below) / count
        below, lower_s = below + count, bound_s
    return BUCKETS_S[-1] if any(buckets) else None


@dataclass
class Duration:
    """How often, and how long together."""

    count: int = 0
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds


@dataclass
class Statistics:
    """Counters of one model; they only grow."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    samples: int = 0
    latency_buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    success: Duration = field(default_factory=Duration)
    failure: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute: Duration = field(default_factory=Duration)
    last_answer_s: float = 0.0
    """When the last answer left, in seconds since the epoch."""

    def answered(self, queue_s: float, compute_s: float, samples: int, now_s: float) -> None:
        """Count a call that was answered in full, once it had waited and was computed for so long."""
        latency_s = queue_s + compute_s
        self.outcomes["ok"] += 1
        self.samples += samples
        self.queue.add(queue_s)
        self.compute.add(compute_s)
        self.success.add(latency_s)
        self.latency_buckets[bisect_left(BUCKETS_S, latency_s)] += 1
        self.last_answer_s = now_s

    def failed(self, error: BaseException, latency_s: float) -> None:
        """Count a call that ended in `error`."""
        self.outcomes[outcome(error)] += 1
        self.failure.add(latency_s)


_OUTCOME_OF: tuple[tuple[type[BaseException], str], ...] = (
    (UserError, "refused"),
    (Overloaded, "overloaded"),
    (TemporaryError, "temporary"),
    (DeadlineExceeded, "late"),
    (PermanentError, "permanent"),
    (Exception, "bug"),
    (BaseException, "cancelled"),
)


def outcome(error: BaseException) -> str:
    """One of `OUTCOMES`, by whose fault it was."""
    return next(name for kind, name in _OUTCOME_OF if isinstance(error, kind))
