"""`synfire bench kubernetes`: which parts there are, what they promise, and the page that tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synfire.bench import figure, routing
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Progress, Report, Settings, floor, report
from synfire.bench.kubernetes import arms, controller, ray
from synfire.bench.kubernetes.arms import Row, Run
from synfire.bench.kubernetes.deployment import HOSTS, SPARES
from synfire.bench.kubernetes.ground import ground, require
from synfire.bench.kubernetes.subject import CALLERS, MODEL, PATIENCE_S, PAUSE_S, QUIET_S
from synfire.bench.page import page, table
from synfire.bench.witness import PATIENCE_S as HELD_S

CONTROLLER, ROUTING, RAY = "controller", "routing", ray.NAME

COUNTS = ("arm", "fault", "trials", "requests", "lost", "wrong", "duplicated")
WAITS = (
    *(
        "outage_p50_s",
        "outage_p99_s",
        "outage_max_s",
        "quiet_outage_p50_s",
        "quiet_outage_max_s",
        "refill_outage_max_s",
    ),
    *("over_p50_s", "whole_p50_s", "quiet_p50_s", "quiet_p99_s", "during_p50_s", "during_p99_s"),
)
OTHERS = (
    *("ready_p50_s", "ready_max_s", "told_p50_s"),
    *(
        "models",
        "objects",
        "api_requests",
        "steady_s",
        "memory_bytes",
        "event_p50_s",
        "event_max_s",
        "moved_p50_s",
        "moved_max_s",
    ),
    *("p50_s", "p90_s", "p99_s", "calls"),
)

EXPLAINED = f"""An outage is the longest time in which a caller got no right answer, of those that overlap the fault and the time until it
was found to be made good (`over`); `quiet_outage` is the longest within as long a time right before. `refill_outage` is within the time from then until
all Pods are there again (`whole`): they are begun on the processors that answer, too. Of fewer than a hundred trials the p99 is the longest.
`quiet` and `during` are single requests, before faults and while they last.

{CALLERS} callers ask, each {1e3 * PAUSE_S:.0f} ms after its last answer, and compare every bit. A request is lost when it is answered by an
error, its connection breaks, or {HELD_S:.0f} s pass ({PATIENCE_S:g} s where another one than synfire answers); a connection that
is not taken is tried again, and is no lost request. Nobody repeats a request.
"""


class Kubernetes(Benchmark):
    """Parts that need a cluster share one; each of the others runs by itself."""

    name = "kubernetes"
    about = (
        "Pods and nodes lost under load, spares, rollouts; beside plain Kubernetes and Ray Serve; the controller with "
        f"{controller.MODELS:,} models of {controller.STAGES} stages"
    )
    environment = "make images"
    shown = (
        *("arm", "fault", "trials", "requests", "lost", "wrong", "outage_p50_s", "outage_p99_s", "quiet_outage_max_s"),
        *("refill_outage_max_s", "over_p50_s", "quiet_p99_s", "during_p99_s", "ready_p50_s", "event_max_s", "p99_s"),
    )

    @property
    def parts(self) -> tuple[str, ...]:
        return (CONTROLLER, ROUTING, *arms.PARTS, RAY)

    def measure(self, settings: Settings, progress: Progress) -> Report:
        parts = settings.only or self.parts
        clustered = [each for each in arms.PARTS if each in parts]
        self._require(settings, clustered)
        rows: list[Row] = []
        if CONTROLLER in parts:
            rows.append(controller.measured(settings.quick, progress))
        if ROUTING in parts:
            found = BENCHMARKS[routing.Routing.name].measure(settings, progress)
            rows += [{"arm": ROUTING, "fault": f"{row['choice']} of a {row['of']}", **row} for row in found.rows]
        details: dict[str, Any] = {"parts": parts, **_CONDITIONS}
        if clustered:
            progress("a cluster is begun")
            with ground() as place:
                details |= place.described
                rows += arms.measured(place, clustered, Run(settings.seed, settings.quick, progress))
        if RAY in parts and ray.installed():
            rows += ray.measured(2 if settings.quick else ray.TRIALS, settings.seed, progress)
        elif RAY in parts:
            rows.append({"arm": RAY, "fault": "not installed"})
        return report(self.name, settings, details, rows, floors(rows))

    def documents(self, found: Report) -> dict[str, str]:
        sections = [
            "## What callers saw\n",
            EXPLAINED,
            table(found.rows, COUNTS),
            table(found.rows, ("arm", "fault", *WAITS)),
        ]
        others = [row for row in found.rows if any(name in row for name in OTHERS)]
        sections += ["## What else was measured\n", table(others, ("arm", "fault", *OTHERS))] if others else []
        curves = {f"{row['arm']}: {row['fault']}": row["outages_s"] for row in found.rows if "outages_s" in row}
        if not curves:
            return {f"{self.name}.md": page(found, _TITLE, sections)}
        limits = [
            figure.Limit(each.limit / 1e3, 0.99, f"{each.name} ≤ {each.limit:g}")
            for each in found.floors
            if each.name.endswith("outage_p99_ms")
        ]
        plot = f"{self.name}-outages.svg"
        drawn = figure.cumulative(
            "Outages: the share within a time", "longest wait of any caller, per fault", curves, limits
        )
        sections[1] += f"\n![Outages]({plot})\n"
        return {f"{self.name}.md": page(found, _TITLE, sections), plot: drawn}

    def _require(self, settings: Settings, clustered: Sequence[str]) -> None:
        """Say what is missing before anything is measured. Raises `UserError`."""
        if clustered:
            require(clustered, arms.MACHINES)
        if RAY in settings.only:
            ray.require()


BENCHMARKS.add(Kubernetes.name, Kubernetes())

_TITLE = "Kubernetes: Pods and nodes lost, and what is beside it"
_CONDITIONS = {
    "model": MODEL,
    "callers": CALLERS,
    "pause_s": PAUSE_S,
    "quiet_s": QUIET_S,
    "hosts": HOSTS,
    "spares": SPARES,
    "models": controller.MODELS,
    "stages": controller.STAGES,
}


def floors(rows: Sequence[Row]) -> list[Floor]:
    """Those of the parts that were measured; an arm's first row is that of all its faults."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["arm"], row)
    return list(_floors(first, rows))


def _floors(first: Mapping[str, Row], rows: Sequence[Row]) -> Iterator[Floor]:
    if "pods" in first:
        yield floor("pod_kill_outage_p99_ms", "<=", 500, 1e3 * first["pods"]["outage_p99_s"])
    if "nodes" in first:
        yield floor("node_cut_outage_p99_ms", "<=", 1500, 1e3 * first["nodes"]["outage_p99_s"])
    if lost := [first[name] for name in ("pods", "nodes") if name in first]:
        yield floor("k8s_lost", "==", 0, sum(row["lost"] for row in lost))
        yield floor("k8s_wrong", "==", 0, sum(row["wrong"] for row in lost))
    if "spares" in first:
        yield floor("spare_pod_ready_s", "<=", 3, first["spares"]["ready_p50_s"])
    if "upgrade" in first:
        row = first["upgrade"]
        yield floor("upgrade_errors", "==", 0, row["lost"] + row["wrong"])
        yield floor("upgrade_p99_ratio", "<=", 2, row["during_p99_s"] / row["quiet_p99_s"])
    if CONTROLLER in first:
        yield floor("controller_event_s", "<=", 1, first[CONTROLLER]["event_max_s"])
    if ROUTING in first:
        yield from routing.floors([row for row in rows if row["arm"] == ROUTING])
