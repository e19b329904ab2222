"""What is counted of a chain's steps; metrics read it."""

from __future__ import annotations

from dataclasses import dataclass, field

from synfire.gateway.statistics import OUTCOMES, Duration, outcome


@dataclass
class StepCounts:
    """Counters of one step; they only grow."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*OUTCOMES, "skipped"), 0))
    retries: int = 0
    time: Duration = field(default_factory=Duration)

    def answered(self, seconds: float) -> None:
        self.outcomes["ok"] += 1
        self.time.add(seconds)

    def failed(self, error: BaseException) -> None:
        self.outcomes[outcome(error)] += 1

    def skipped(self) -> None:
        self.outcomes["skipped"] += 1
