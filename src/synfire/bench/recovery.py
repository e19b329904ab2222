"""What a failure costs those who call: every family under load, while workers are killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from synfire.bench import figure
from synfire.bench.arms import ARMS, Conditions
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, report
from synfire.bench.page import page, table
from synfire.bench.trials import ALL, CONFIDENCE, LATE_S, RESAMPLES
from synfire.bench.witness import PATIENCE_S
from synfire.wire.recovery import STEPS
from synfire.zoo import names

QUICK = ("scnn-digits", "srnn-digits")

COUNTS = ("arm", "family", "trials", "requests", "lost", "wrong", "duplicated", "late", "replays", "unprovoked")
OUTAGES = (
    "arm",
    "family",
    *(f"outage_{name}_s" for name in ("p50", "p50_low", "p50_high", "p99", "p99_low", "p99_high", "max")),
    "quiet_p50_s",
    "quiet_p99_s",
)
TIMES = ("arm", *(f"{name}{end}_s" for name in ("notice", *STEPS, "recovery") for end in ("", "_p99")), "warm_again_s")

EXPLAINED = f"""An outage is the longest time between sending a request and its answer among those that overlap the failure and
its recovery; per failure there is one a family, and under `{ALL}` the longest of any. `low` and `high` are the ends of the
{CONFIDENCE:.0%} bootstrap interval; the longest has none, as resampling cannot tell what was never seen. `quiet` is what requests
take while nothing is being recovered: one connection a family asks without a pause, so the machine is never idle.
`unprovoked` counts losses that nobody caused: workers that were suspected in vain.

A request is lost when it is answered by an error, its connection breaks, or {PATIENCE_S:.0f} s pass; an answer is wrong when any
bit of its outputs differs from the uncut model's, duplicated when no request waits for it, late after {LATE_S:g} s. Clients
do not retry.
"""

STEPPED = """Medians and p99 of each step, from the recovery records. `notice` is from the signal to the controller's knowledge of
it; adopting and relinking go on at the same time; what is adopted is verified before anything is replayed. Without a spare,
`fence` ends when calls are held for the new worker, so that it holds the start of the process. `warm_again` is when the
deployment is protected as before.
"""


class Recovery(Benchmark):
    """Closed-loop load over HTTP, one connection a family, each answer checked; failures one after the other."""

    name = "recovery"
    about = "workers killed under load: what clients see, and what each step of the recovery takes"
    shown = (
        *COUNTS,
        *("outage_p50_s", "outage_p99_s", "outage_max_s", "quiet_p50_s", "recovery_s", "warm_again_s"),
        *("written_bytes", "share", "vs_recompile", "vs_redeploy"),
    )

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(ARMS)

    def measure(self, settings: Settings, progress: Progress) -> Report:
        models = QUICK if settings.quick else tuple(name for name in names() if name.endswith("-digits"))
        conditions = Conditions(models, settings.seed, settings.quick)
        arms = {name: ARMS[name] for name in settings.only or ARMS}
        outcomes = {name: arm.measure(conditions, progress) for name, arm in arms.items()}
        details = {
            "models": models,
            "arms": {name: arm.about for name, arm in arms.items()},
            "late_s": LATE_S,
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "complaints": {name: each.complaints for name, each in outcomes.items() if each.complaints},
            **{key: value for each in outcomes.values() for key, value in each.details.items()},
        }
        rows = [row for each in outcomes.values() for row in each.rows]
        return report(self.name, settings, details, rows, [one for each in outcomes.values() for one in each.floors])

    def documents(self, found: Report) -> dict[str, str]:
        chapters = [each for name in found.settings["arms"] if (each := ARMS[name].chapter(found.rows)) is not None]
        own = {arm for each in chapters for arm in each.arms}
        common = msgspec.structs.replace(found, rows=tuple(row for row in found.rows if row["arm"] not in own))
        sections, plots = self._common(common) if common.rows else ([], {})
        for each in chapters:
            sections, plots = [*sections, *each.sections], {**plots, **each.plots}
        return {"recovery.md": page(found, "Recovery from failures, under load", sections), **plots}

    def _common(self, found: Report) -> tuple[list[str], dict[str, str]]:
        """Sections and plots of the arms that have no chapter of their own."""
        if not any("outages_s" in row for row in found.rows):
            return ["## Rows\n", table(found.rows, self.shown)], {}  # arms without clients have nothing to plot
        arms = "".join(f"- `{name}`: {about}\n" for name, about in found.settings["arms"].items())
        plots = {"recovery-outages.svg": _outages(found), "recovery-steps.svg": _timelines(found)}
        sections = [
            "## Arms\n",
            arms,
            "## What clients saw\n",
            f"{EXPLAINED}\n![Outages](recovery-outages.svg)\n",
            table(found.rows, COUNTS),
            table(found.rows, OUTAGES),
            "## What recovery took\n",
            f"{STEPPED}\n![Steps](recovery-steps.svg)\n",
            table(list(_totals(found)), TIMES),
        ]
        return sections, plots


BENCHMARKS.add(Recovery.name, Recovery())


def _totals(found: Report) -> Iterator[Mapping[str, Any]]:
    """The row of each arm for all families together."""
    return (row for row in found.rows if row["family"] == ALL)


def _outages(found: Report) -> str:
    curves = {row["arm"]: row["outages_s"] for row in _totals(found) if "outages_s" in row}
    limits = [
        figure.Limit(each.limit / 1e3, int(each.name[-5:-3]) / 100, f"{each.name} ≤ {each.limit:g}")
        for each in found.floors
        if each.name.endswith(("_p50_ms", "_p99_ms"))
    ]
    return figure.cumulative(
        "Outages: the share within a time", "longest wait of any client, per failure", curves, limits
    )


def _timelines(found: Report) -> str:
    charts = {row["arm"]: list(_spans(row)) for row in _totals(found) if "notice_s" in row}
    return figure.timelines("Recovery steps, median begin and length", charts)


def _spans(row: Mapping[str, Any]) -> Iterator[figure.Span]:
    """The steps from the failure on."""
    yield figure.Span("notice", 0.0, row["notice_s"])
    for name in STEPS:
        if f"{name}_begin_s" in row:
            begin_s = max(0.0, row[f"{name}_begin_s"])
            yield figure.Span(name, begin_s, begin_s + row[f"{name}_s"])
