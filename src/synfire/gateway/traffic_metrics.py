"""What names that answer by rules did, as metrics: each side's calls and times, and how far shadows agreed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from synfire.gateway.comparison import Comparison
from synfire.gateway.statistics import BUCKETS_S, Statistics
from synfire.gateway.traffic import Traffic

_SIDE = ["name", "model", "part"]
_SHADOW = ["name", "model"]

_OF_SHADOW: tuple[tuple[str, str, Callable[[Comparison], int]], ...] = (
    ("synfire_shadow_compared", "Copies whose answer was compared with the caller's.", lambda each: each.compared),
    ("synfire_shadow_equal", "Of those, answers that were the same.", lambda each: each.equal),
    ("synfire_shadow_samples", "Samples in compared answers.", lambda each: each.samples),
    ("synfire_shadow_agreed", "Of those, samples with the largest value in the same place.", lambda each: each.agreed),
    (
        "synfire_shadow_left_out",
        "Calls of which no copy was made: too many were under way.",
        lambda each: each.left_out,
    ),
)


def of_traffic(traffic: Traffic) -> Iterator[Metric]:
    """The metrics of one moment; `part` is `side` or `shadow`."""
    share = GaugeMetricFamily(
        "synfire_traffic_percent", "What a side, or a shadow, gets of a name's calls.", labels=_SIDE
    )
    for rule in traffic.rules.values():
        for each in rule.sides:
            share.add_metric([rule.name, each.model, "side"], each.percent)
        if rule.shadow is not None:
            share.add_metric([rule.name, rule.shadow.model, "shadow"], rule.shadow.percent)
    yield share
    yield from _of_sides(list(_sides(traffic)))
    shadows = [
        ([name, model], comparison)
        for name, counts in traffic.counts.items()
        for model, (_, comparison) in counts.shadows.items()
    ]
    for title, text, value in _OF_SHADOW:
        family = CounterMetricFamily(title, text, labels=_SHADOW)
        for labels, comparison in shadows:
            family.add_metric(labels, value(comparison))
        yield family


def _sides(traffic: Traffic) -> Iterator[tuple[list[str], Statistics]]:
    for name, counts in traffic.counts.items():
        for model, counted in counts.sides.items():
            yield [name, model, "side"], counted
        for model, (counted, _) in counts.shadows.items():
            yield [name, model, "shadow"], counted


def _of_sides(sides: list[tuple[list[str], Statistics]]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "synfire_traffic_calls", "Calls of a name by how they ended.", labels=[*_SIDE, "outcome"]
    )
    latency = HistogramMetricFamily(
        "synfire_traffic_latency_seconds", "From arrival to the last part, answered calls of a name.", labels=_SIDE
    )
    for labels, counted in sides:
        for outcome, count in counted.outcomes.items():
            calls.add_metric([*labels, outcome], count)
        latency.add_metric(labels, cumulative(counted.latency_buckets), counted.success.total_s)
    yield calls
    yield latency


def cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    """Counts of `BUCKETS_S` as Prometheus has them: each with those below."""
    total, found = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
