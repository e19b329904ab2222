"""How near each operator comes to what one core of this machine can do at best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from synfire.base.errors import TemporaryError
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, report, spread
from synfire.bench.frameworks import Case, cases
from synfire.bench.roofline import Roofs, measured
from synfire.bench.work import work
from synfire.engines.cpu.timing import REST, operator_seconds
from synfire.zoo import names

HOTTEST = 3

BEYOND = 1.05
"""A fraction above it is no rounding of the clock."""


class Limit(Benchmark):
    """Time of each operator inside its program, against the longest of the times that additions and memory need at best.

    Operators that are one piece of the compiled program, such as a convolution and the neurons behind it, are one row;
    `moved_bytes` are what passes the nearest cache (see `synfire.bench.work`). What a program does outside of its
    operators is a row without a roof. `silent_s` is what an operator takes when nothing arrives: to begin currents, to step
    neurons, to move what they remember. No synaptic operation is in it, so it tells where a low fraction comes from.
    """

    name = "limit"
    about = "each operator's synaptic operations a second against a roofline measured on this machine, one core"
    shown = (
        "model", "batch", "operators", "median_s", "silent_s", "operations", "operations_s", "moved_bytes", "weight_bytes", "roof", "fraction",
    )  # fmt: skip

    def measure(self, settings: Settings, progress: Progress) -> Report:
        models = ["svgg-digits"] if settings.quick else list(names())
        rounds = 5 if settings.quick else 100
        progress("the roofs")
        roofs = measured(settings.quick)
        rows: list[dict[str, Any]] = []
        for case in cases(models):
            progress(f"{case.model}, batch {case.batch}")
            rows += _rows(case, roofs, rounds)
        _require_undisturbed(rows)
        hottest = hottest_operators(rows)
        floors = [floor("roofline_fraction", ">=", 0.4, min(hottest.values()))]
        details = {"rounds": rounds, "models": models, "roofs": asdict(roofs), "hottest": hottest}
        return report(self.name, settings, details, rows, floors)


BENCHMARKS.add(Limit.name, Limit())


def _rows(case: Case, roofs: Roofs, rounds: int) -> Iterator[dict[str, Any]]:
    times = operator_seconds(case.graph, case.inputs, case.steps, rounds)
    silent = operator_seconds(case.graph, case.inputs, case.steps, rounds, silent=True)
    pieces = [piece for piece in times if piece != REST]
    about = {"model": case.model, "data": case.data, "batch": case.batch}
    for piece, needed in zip(pieces, work(case.graph, pieces, case.inputs, case.steps), strict=True):
        seconds, least_s = spread(times[piece]), needed.least_s(roofs)
        roof = max(least_s, key=least_s.__getitem__)
        yield {
            **about,
            "operators": " + ".join(piece),
            "digests": [case.graph.operator(name).content_digest() for name in piece],
            **seconds,
            "silent_s": spread(silent[piece])["median_s"],
            **asdict(needed),
            "operations_s": needed.operations / seconds["median_s"],
            "roof": roof,
            "least_s": least_s[roof],
            "fraction": least_s[roof] / seconds["median_s"],
        }
    yield {**about, "operators": "the rest", **spread(times[REST])}


def _require_undisturbed(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises `TemporaryError` when an operator is faster than the roofs allow: then these were measured too low."""
    worst = max(rows, key=lambda row: row.get("fraction", 0.0))
    if worst["fraction"] > BEYOND:
        raise TemporaryError(
            f"{worst['model']}.{worst['operators']} is {worst['fraction']:.2f} times as fast as the roofs allow: something else "
            "used this machine's caches or memory while they were measured; run this benchmark when the machine is quiet",
            retry_after_s=60.0,
        )


def hottest_operators(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The fractions of the operators that take the most time over all rows, the hottest first.

    Models may share an operator, and each runs at several batches: its fraction is that of all its time.
    """
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if "fraction" in row:
            found[tuple(row["digests"])].append(row)
    hottest = sorted(found.values(), key=lambda same: -sum(row["median_s"] for row in same))[:HOTTEST]
    return {
        f"{same[0]['model']}.{same[0]['operators']}": sum(row["least_s"] for row in same)
        / sum(row["median_s"] for row in same)
        for same in hottest
    }
