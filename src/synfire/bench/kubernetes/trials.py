"""Faults that were caused while callers asked, each after a quiet period, and what the callers saw: rows of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.bench.trials import quantile
from synfire.bench.witness import LOST, RIGHT, WRONG, Seen
from synfire.ops import Array

ALL = "all"
"""Stands for every fault of an arm."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Trial:
    """A fault of a kind to a target, on the monotonic clock: when the quiet before it began, when it was caused, when it was found to
    be made good, and when all was as before again."""

    fault: str
    target: str
    quiet_s: float
    at_s: float
    over_s: float
    whole_s: float

    @property
    def hit(self) -> Span:
        """From the fault until it is made good."""
        return self.at_s, self.over_s

    @property
    def refilled(self) -> Span:
        """From then until all is as before: what takes the lost one's place is begun, on the same processors."""
        return self.over_s, self.whole_s

    @property
    def paired(self) -> Span:
        """As long a time right before the fault, or all of the quiet where that is shorter."""
        return max(self.quiet_s, self.at_s - (self.over_s - self.at_s)), self.at_s


def rows(arm: str, trials: Sequence[Trial], seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """A row for each kind of fault, and where there are several one for all of them, which comes first."""
    kinds = list(dict.fromkeys(each.fault for each in trials))
    found = [_row(arm, kind, [each for each in trials if each.fault == kind], seen) for kind in kinds]
    if len(kinds) > 1:
        return [_row(arm, ALL, trials, seen) | _counts(seen.values(), None), *found]
    return [{**each, **_counts(seen.values(), None)} for each in found]


def longest_s(seen: Iterable[Seen], span: Span, within: bool = False) -> float:
    """The longest time in which a caller got no right answer: from the end of one right answer to the end of the next, of those that overlap
    the span, or lie `within` it. A caller who asks without a pause sees the longest wait; errors in between make it no shorter."""
    return max((_longest(each, span, within) for each in seen), default=0.0)


def _longest(seen: Seen, span: Span, within: bool) -> float:
    """What is not ended by a right answer lasts until the caller's last request has ended."""
    ended = seen.ended_s
    ends = ended[seen.verdict == RIGHT]
    if len(ended) and (not len(ends) or ends[-1] < ended[-1]):
        ends = np.append(ends, ended[-1])
    begin, end = ends[:-1], ends[1:]
    overlaps, inside = (end > span[0]) & (begin < span[1]), (begin >= span[0]) & (end <= span[1])
    return float((end - begin)[inside if within else overlaps].max(initial=0.0))


def _row(arm: str, fault: str, trials: Sequence[Trial], seen: Mapping[str, Seen]) -> dict[str, Any]:
    callers = tuple(seen.values())
    outages = [longest_s(callers, each.hit) for each in trials]
    quiets = [longest_s(callers, each.paired, within=True) for each in trials]
    refills = [longest_s(callers, each.refilled, within=True) for each in trials]
    over = [each.over_s - each.at_s for each in trials]
    whole = [each.whole_s - each.at_s for each in trials]
    quiet = _times(callers, [(each.quiet_s, each.at_s) for each in trials])
    during = _times(callers, [each.hit for each in trials])
    return {
        "arm": arm,
        "fault": fault,
        "trials": len(trials),
        **_counts(callers, [(each.at_s, each.whole_s) for each in trials]),
        **_quantiles("outage", outages),
        "quiet_outage_p50_s": quantile(quiets, 0.5),
        "quiet_outage_max_s": max(quiets),
        "refill_outage_max_s": max(refills),
        "over_p50_s": quantile(over, 0.5),
        "whole_p50_s": quantile(whole, 0.5),
        **_quantiles("quiet", quiet),
        **_quantiles("during", during),
        "targets": [each.target for each in trials],
        "outages_s": outages,
        "quiet_outages_s": quiets,
        "refill_outages_s": refills,
        "over_s": over,
        "whole_s": whole,
    }


def _counts(seen: Iterable[Seen], spans: Sequence[Span] | None) -> dict[str, int]:
    """How requests ended that were under way in one of the spans; without spans all of them."""
    callers = tuple(seen)
    verdicts = _kept(callers, lambda each: each.verdict, spans)
    found = {
        "requests": len(verdicts),
        "lost": int((verdicts == LOST).sum()),
        "wrong": int((verdicts == WRONG).sum()),
    }
    return found if spans is not None else {**found, "duplicated": sum(each.duplicated for each in callers)}


def _times(seen: Sequence[Seen], spans: Sequence[Span]) -> list[float]:
    """What the requests took that were under way in the spans, and were answered right."""
    times = _kept(seen, lambda each: np.where(each.verdict == RIGHT, each.ended_s - each.sent_s, np.nan), spans)
    return [float(each) for each in times[~np.isnan(times)]]


def _kept(seen: Sequence[Seen], of: Callable[[Seen], Array], spans: Sequence[Span] | None) -> Array:
    parts = [of(each)[_within(each, spans)] for each in seen]
    return np.concatenate(parts) if parts else np.zeros(0)


def _within(seen: Seen, spans: Sequence[Span] | None) -> Array:
    if spans is None:
        return np.ones(len(seen.sent_s), bool)
    within = np.zeros(len(seen.sent_s), bool)
    for from_s, to_s in spans:
        within |= (seen.ended_s >= from_s) & (seen.sent_s <= to_s)
    return within


def _quantiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Of fewer than a hundred values the p99 is the largest. Nothing where there is no value."""
    if not seconds:
        return {}
    p50_s, p99_s = quantile(seconds, 0.5), quantile(seconds, 0.99)
    return {f"{name}_p50_s": p50_s, f"{name}_p99_s": p99_s, f"{name}_max_s": max(seconds)}
