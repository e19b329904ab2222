"""The sides of a name, side by side: what each did, and how long it took."""

from __future__ import annotations

import msgspec

from synfire.gateway.statistics import BUCKETS_S, quantile_s
from synfire.wire.traffic import SideCount, TrafficCount


class Compared(msgspec.Struct, frozen=True):
    """One side, or the shadow. Times are of answered calls, None where there are none yet; quantiles are interpolated within the buckets
    of the latency metric, the last of which ends at a minute.

    Of a shadow: the share of compared answers that were the same, and of their samples those with the largest value in the same place.
    """

    model: str
    percent: float
    shadow: bool
    calls: int
    errors: int
    samples: int
    outcomes: dict[str, int]
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    compared: int = 0
    equal_share: float | None = None
    agreed_share: float | None = None
    difference: float = 0.0
    left_out: int = 0


def compared(count: TrafficCount) -> list[Compared]:
    """All sides of a name, those of today's rule first, the shadow last; one that has not been called yet has no times."""
    rule = count.rule
    known = {(each.model, each.shadow): each for each in count.sides}
    now = {(each.model, False): each.percent for each in rule.sides}
    shadows = {(rule.shadow.model, True): rule.shadow.percent} if rule.shadow is not None else {}
    former = dict.fromkeys((key for key in known if key not in now and key not in shadows), 0.0)
    shares = {**now, **former, **shadows}
    return [
        _compared(known.get(key) or SideCount(key[0], {}, shadow=key[1]), percent) for key, percent in shares.items()
    ]


def _compared(side: SideCount, percent: float) -> Compared:
    answered = side.calls.get("ok", 0)
    calls = sum(side.calls.values())
    buckets = list(side.latency_buckets) or [0] * (len(BUCKETS_S) + 1)
    return Compared(
        side.model,
        percent,
        side.shadow,
        calls,
        calls - answered,
        side.samples,
        {kind: each for kind, each in side.calls.items() if each},
        side.latency_s / answered if answered else None,
        quantile_s(buckets, 0.5),
        quantile_s(buckets, 0.95),
        side.compared,
        side.equal / side.compared if side.compared else None,
        side.agreed / side.compared_samples if side.compared_samples else None,
        side.difference,
        side.left_out,
    )
