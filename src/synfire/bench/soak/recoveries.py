"""What the records tell of recoveries, and whether there is one for every loss that was caused."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    """A worker with stages, or the chip under one, was hit, in seconds since 1970."""

    worker: str
    at_s: float


Spans = Sequence[tuple[float, float]]
"""Times from when to when, in seconds since 1970."""


def check_records(
    records: Iterable[RecoveryRecord],
    kills: Iterable[Kill],
    shortages: Spans = (),
    priorities: Mapping[str, int] | None = None,
) -> None:
    """Raise `Violation` for a kill that no record tells of, and for a recovery that left something unserved, or ill served.

    Models may be stopped in `shortages`, in the order of their `priorities`. Where a processor has taken over from another device
    the record must tell how far the two agree.
    """
    told = list(records)
    for each in told:
        if each.outcome not in WELL and not _substitutes(each) and not _within(each.began_s, shortages):
            raise Violation(f"recovery {each.id} of {each.worker} is {each.outcome}: {each.reason}")
        _check_order(each, priorities or {})
    for kill in kills:
        if not any(each.worker == kill.worker and abs(each.began_s - kill.at_s) < NOTICED_S for each in told):
            raise Violation(f"{kill.worker} was hit while it held stages, and no record tells of its recovery")


def _substitutes(record: RecoveryRecord) -> bool:
    """Whether nothing is wrong but that a processor runs stages in place of a device, and it is told how far they agree."""
    agree = all(each.agreement is not None and 0 < each.agreement <= 1 for each in record.substituted)
    return (
        bool(record.substituted)
        and agree
        and len(re.findall(_IN_PLACE, record.reason)) == record.reason.count("; ") + 1
    )


def _within(at_s: float, spans: Spans) -> bool:
    return any(from_s <= at_s <= until_s for from_s, until_s in spans)


def _check_order(record: RecoveryRecord, priorities: Mapping[str, int]) -> None:
    """Raise `Violation` where a model was stopped for one that is no more important, or other priorities are told than were given."""
    for model, other, above, own in re.findall(_FOR_ANOTHER, record.reason):
        given = priorities.get(other, 0), priorities.get(model, 0)
        if (int(above), int(own)) != given or given[0] <= given[1]:
            raise Violation(
                f"recovery {record.id} stops {model}, whose priority is {given[1]}, for {other}, whose priority is {given[0]}: "
                f"{record.reason}"
            )


_IN_PLACE = r"runs on \S+ in place of \S+, whose spikes agree to"
_FOR_ANOTHER = (
    r"(\S+): it is stopped to make room for model '([^']+)', whose priority (-?\d+) is above its own, (-?\d+)"
)


def durations(records: Sequence[RecoveryRecord]) -> dict[str, dict[str, Any]]:
    """How many recoveries there were by their cause, and how long they took, in seconds."""
    found = defaultdict(list)
    for each in records:
        found[each.cause.kind].append(each.duration_s)
    return {
        cause: {"count": len(each), "p50_s": quantile(each, 0.5), "p99_s": quantile(each, 0.99), "max_s": max(each)}
        for cause, each in sorted(found.items())
    }
