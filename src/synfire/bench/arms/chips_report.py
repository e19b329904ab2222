"""The chapter on chips: tables, the steps of each way as bars, and what the assumptions do to the speed-ups."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synfire.bench import figure
from synfire.bench.arms.arm import Chapter
from synfire.bench.arms.chips_costs import ASSUMED, STEPS, Assumptions, Repaired
from synfire.bench.arms.chips_networks import LIMITS, WIDE
from synfire.bench.arms.chips_ways import WAYS, Cold, Hot, Recompile, Redeploy, Warm
from synfire.bench.page import table
from synfire.bench.trials import quantile
from synfire.plan.costs import format_bytes, format_seconds

Row = Mapping[str, Any]

BANDWIDTHS = (1e6, 1e7, 1e8, 1e9, 1e10)
RESETS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
"""Bytes a second, and seconds of a reset, over which is swept."""

BARS = ("svgg", "wide-112")
"""The networks whose steps are shown as bars."""

REPLACED, BASES = (Cold, Warm, Hot), (Recompile, Redeploy)

COUNTS = ("arm", "family", "cores", "trials", "requests", "lost", "wrong", "late")
TIMES = ("arm", "family", *(f"{name}_s" for name in STEPS), "recovery_s", "vs_recompile", "vs_redeploy")
OUTAGES = (
    "arm",
    "family",
    *(f"outage_{name}_s" for name in ("p50", "p50_low", "p50_high", "p99", "p99_low", "p99_high", "max")),
)
BYTES = ("arm", "family", "written_bytes", "full_bytes", "share", "share_worst", "of_own_worst")
PUBLISHED = ("family", "recovery_s", "published_low_s", "published_high_s")

EXPLAINED = f"""A random core that holds neurons dies while a request is under way, at a random step of it. Every way really does its
steps on the emulated chip, the struck request is replayed, and its answer, and that of the requests before and after it, is
compared with an undisturbed chip's: one bit apart is wrong. Stages that the chip refuses (the first analog layers, attention,
the readout) run on cpu and are the same in all ways, so they are left out; each stage on the chip has a chip for itself, and
only the one with the dead core is recovered.

`compile`, `place`, `link` and `feeds` (which dendrites of which cores an input's spikes are sent to) are measured on the host,
as processor time, so that nothing else on the machine counts. The rest is emulated, from the words that went through
the configuration port and the chip's steps, and **assumed**, because nothing is published: {format_bytes(ASSUMED.bandwidth_bytes_s)}/s
(gigabit Ethernet, over which the toolchain sends its flits by TCP), {format_seconds(ASSUMED.latency_s)} for one way of a packet, a
reset in {format_seconds(ASSUMED.reset_s)} (65,536 words cleared one a clock, in all cores at once: the least that it can take; only
(a) resets), and the shortest time step that the busiest step of the stage fits in. `recovery` is from the fault's report to the
first right output; an outage is what the client of the struck request waits, from sending to answer.

The floors about bytes are held by `{Cold.name}` and `{Warm.name}`, which write the image itself, those about time by `{Hot.name}`.
On small networks what is left of a hot replacement is mostly the chip's own steps until the first output, which all ways share:
a faster host makes its lead smaller, a wider network larger.
"""

TIMELINE = """Medians; each way has a scale of its own, given by its longest bar.
"""

SWEPT = """How many times faster the replacement is in the median family. Where a reset costs something, the full deployments
(b) and (c) reset too, as the published runtime does; (d) never does. The last line has the default time step of 0.5 ms instead
of the shortest one.
"""

PUBLISHED_NOTE = """(a) ran our code, so its time is a lower bound. The public compiler's own times on 2 cores were 0.4 s for a small dense
network and 12 to 19 s for a convolutional one of nine cores; by the word, these bracket what it would take here (an estimate).
"""


def chapter(rows: Sequence[Row]) -> Chapter | None:
    """The chapter from the arm's rows; None without any."""
    whole = [row for row in rows if "measured" in row]
    if not whole:
        return None
    ways = "".join(f"- `{way.name}`: {way.about}\n" for way in WAYS)
    families = [row["family"] for row in whole]
    shown = [family for family in BARS if family in families] or families[:1]
    bars = {f"recovery-chips-{family}.svg": _bars(family, whole) for family in shown}
    sweeps = {f"recovery-chips-{base.name[5:]}.svg": _curves(base, whole) for base in BASES}
    return Chapter(
        frozenset(way.name for way in WAYS),
        (
            "## Cores of darwin3 chips that die\n",
            f"{ways}\n{EXPLAINED}",
            table(whole, COUNTS),
            table(rows, TIMES),
            "### What the client of the struck request waited\n",
            table(whole, OUTAGES),
            "### What was written\n",
            table(whole, BYTES),
            "### Steps\n",
            "\n".join([TIMELINE, *(f"![Steps]({name})" for name in bars), ""]),
            "### What the assumptions do\n",
            "\n".join([SWEPT, *(f"![Sweep]({name})" for name in sweeps), ""]),
            _sweep_table(whole),
            "### The public toolchain\n",
            PUBLISHED_NOTE,
            table([row for row in whole if "published_low_s" in row], PUBLISHED),
        ),
        bars | sweeps,
    )


def speed_up(rows: Sequence[Row], way: str, base: str, assumed: Assumptions, resets: bool) -> float:
    """How many times faster a way is than another in the median family; `resets`: the other resets the chip first."""
    times: dict[tuple[str, str], float] = {}
    for row in rows:
        found = (Repaired(**each) for each in row["measured"])
        if row["arm"] == base and resets:
            found = (replace(each, resets=True) for each in found)
        times[row["family"], row["arm"]] = quantile([each.recovery_s(assumed) for each in found], 0.5)
    families = {family for family, _ in times if family not in WIDE}
    return statistics.median(times[family, base] / times[family, way] for family in families)


def _bars(family: str, rows: Sequence[Row]) -> str:
    charts = {row["arm"]: list(_spans(row)) for row in rows if row["family"] == family}
    return figure.timelines(f"{family}: from the fault's report to the first right output", charts)


def _spans(row: Row) -> Iterator[figure.Span]:
    begin_s = 0.0
    for name in STEPS:
        if f"{name}_s" in row:
            yield figure.Span(name, begin_s, begin_s + row[f"{name}_s"])
            begin_s += row[f"{name}_s"]


def _curves(base: type[Recompile] | type[Redeploy], rows: Sequence[Row]) -> str:
    """Speed-up of the hot replacement over the bandwidth, a curve for each cost of a reset, and the warm one without."""
    curves = {
        f"{way.name}, reset {format_seconds(reset_s) if reset_s else '0'}": [
            (
                bandwidth,
                speed_up(
                    rows,
                    way.name,
                    base.name,
                    replace(ASSUMED, bandwidth_bytes_s=bandwidth, reset_s=reset_s),
                    reset_s > 0,
                ),
            )
            for bandwidth in BANDWIDTHS
        ]
        for way, reset_s in ((Warm, 0.0), *((Hot, each) for each in RESETS))
    }
    return figure.lines(f"Times faster than {base.name}, median family", "bytes a second (assumed)", curves)


def _sweep_table(rows: Sequence[Row]) -> str:
    cases = [
        *(
            (replace(ASSUMED, bandwidth_bytes_s=bandwidth, reset_s=reset_s), reset_s > 0)
            for reset_s in RESETS
            for bandwidth in BANDWIDTHS
        ),
        (replace(ASSUMED, step_s=LIMITS.default_step_s), False),
    ]
    lines = [
        {
            "bandwidth": f"{format_bytes(assumed.bandwidth_bytes_s)}/s",
            "reset": format_seconds(assumed.reset_s) if resets else "none",
            "time step": format_seconds(assumed.step_s) if assumed.step_s else "shortest",
            **{
                f"{way.name[5:]} vs {base.name[5:]}": speed_up(rows, way.name, base.name, assumed, resets)
                for base in BASES
                for way in REPLACED
            },
        }
        for assumed, resets in cases
    ]
    return table(lines, tuple(lines[0]))
