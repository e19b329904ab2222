"""What the records tell of recoveries, and whether there is one for every loss that was caused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from synfire.bench.soak.judgement import Violation
from synfire.bench.trials import quantile
from synfire.wire.recovery import RecoveryRecord

NOTICED_S = 10.0
"""A record that begins within so long of a kill is of that kill."""

WELL = ("recovered", "moved")
"""The outcomes after which everything is served as before."""


@dataclass(frozen=True)
class Kill:
    """A worker with stages was killed, in seconds since 1970."""

    worker: str
    at_s: float


def check_records(records: Iterable[RecoveryRecord], kills: Iterable[Kill]) -> None:
    """Raise `Violation` for a kill that no record tells of, and for a recovery that left something unserved."""
    told = list(records)
    for each in told:
        if each.outcome not in WELL:
            raise Violation(f"recovery {each.id} of {each.worker} is {each.outcome}: {each.reason}")
    for kill in kills:
        if not any(each.worker == kill.worker and abs(each.began_s - kill.at_s) < NOTICED_S for each in told):
            raise Violation(f"{kill.worker} was killed while it held stages, and no record tells of its recovery")


def durations(records: Sequence[RecoveryRecord]) -> dict[str, dict[str, Any]]:
    """How many recoveries there were by their cause, and how long they took, in seconds."""
    found = defaultdict(list)
    for each in records:
        found[each.cause.kind].append(each.duration_s)
    return {
        cause: {"count": len(each), "p50_s": quantile(each, 0.5), "p99_s": quantile(each, 0.99), "max_s": max(each)}
        for cause, each in sorted(found.items())
    }
