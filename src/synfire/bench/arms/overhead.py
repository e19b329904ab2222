"""What being able to recover costs while nothing fails: throughput without it ÷ with it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synfire.base.errors import PermanentError
from synfire.bench.arms.arm import ARMS, Arm, Chapter, Conditions, Outcome
from synfire.bench.arms.deployed import Deployed, cases, deployed, planned_for, session_cases
from synfire.bench.benchmark import Progress, floor
from synfire.bench.page import table
from synfire.bench.trials import ALL, bootstrap
from synfire.bench.witness import RIGHT, Case, Job, witness
from synfire.deploy.local import Settings
from synfire.deploy.planning import Planned

PAIRS = 40
"""Two deployments of the same settings differ by some hundredths, and so does the machine from second to second: many short runs
tell more than few long ones."""

SETTLE_S, COUNTED_S = 0.75, 2.25
"""Requests count that end within the second span, after the first."""

BUSY = "all, by processor time"
"""The row of answers per second that gateway and workers were busy: what others do on the machine hardly tells there."""

ANYWHERE = "http://synfire"
"""What requests name as their host; each deployment listens elsewhere."""


COLUMNS = (
    "arm",
    "family",
    "trials",
    "without_requests_s",
    "with_requests_s",
    "overhead",
    "overhead_low",
    "overhead_high",
)


class Overhead(Arm):
    """The same models, requests and sessions, on a fresh deployment each time, in turns and in random order within a pair.

    With it, there are heartbeats, inputs that are kept for replays, calls and checkpoints of sessions, checksums of states, and
    known-answer tests, all at their defaults. Half of the calls belong to sessions. The ratio of each pair counts, and of these the median.
    """

    name = "overhead"
    about = "nothing fails: throughput with `heal` off ÷ on (heartbeats, kept inputs, checkpoints, checksums, known-answer tests)"

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        pairs = 2 if conditions.quick else PAIRS
        planned = planned_for(conditions, 2)
        rng = random.Random(f"{conditions.seed}-{self.name}")
        found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        asked = dict(_asked(planned))
        for number in range(pairs):
            progress(f"{self.name}: pair {number + 1} of {pairs}")
            for heal in rng.sample((True, False), 2):
                with deployed(planned, Settings(http="", heal=heal, check_states=heal)) as ground:
                    ground.until_warm()
                    found[heal].append(_rates(ground, Job(ground.url, asked, conditions.seed)))
        rows = list(self._rows(found[False], found[True]))
        return Outcome(tuple(rows), (floor("overhead_ratio", "<=", 1.03, rows[0]["overhead"]),))

    def chapter(self, rows: Sequence[Mapping[str, Any]]) -> Chapter | None:
        mine = [row for row in rows if row["arm"] == self.name]
        words = (
            "Throughput of all clients together, and of each family's; the ratio is the median of the pairs', with its interval. By "
            "processor time: answers per second that the gateway's process and the workers were busy.\n"
        )
        return Chapter(
            frozenset({self.name}), ("## What it costs while nothing fails\n", words, table(mine, COLUMNS)), {}
        )

    def _rows(self, without: list[dict[str, float]], with_it: list[dict[str, float]]) -> Iterator[dict[str, Any]]:
        for family in without[0]:
            slow, fast = ([each[family] for each in rates] for rates in (with_it, without))
            ratios = [one / other for one, other in zip(fast, slow, strict=True)]
            low, high = bootstrap(ratios, 0.5)
            yield {
                "arm": self.name,
                "family": family,
                "trials": len(ratios),
                "without_requests_s": statistics.median(fast),
                "with_requests_s": statistics.median(slow),
                "overhead": statistics.median(ratios),
                "overhead_low": low,
                "overhead_high": high,
                "ratios": ratios,
            }


ARMS.add(Overhead.name, Overhead())


def _asked(planned: Sequence[Planned]) -> Iterator[tuple[str, list[Case]]]:
    """Two connections for each model: one with calls that stand alone, one with sessions."""
    for each in planned:
        yield each.model.name, cases(each, ANYWHERE)
        yield f"{each.model.name} sessions", session_cases(each, ANYWHERE)


def _rates(ground: Deployed, job: Job) -> dict[str, float]:
    """Answers per second: of all clients, of each family's, and under `BUSY` per second of processor time.

    Raises `PermanentError` when one of them is not right.
    """
    with witness(job) as load:
        time.sleep(SETTLE_S)
        from_s, busy_s = time.monotonic(), ground.busy_s
        time.sleep(COUNTED_S)
        busy_s = ground.busy_s - busy_s
        seen = load.stop()
    rates: dict[str, float] = {ALL: 0.0}
    for name, each in seen.items():
        if (each.verdict != RIGHT).any():
            raise PermanentError(f"{name}: an answer was wrong, or lost, although nothing failed: {each.complaints}")
        family, ended_s = name.partition("-")[0], each.ended_s
        rate = float(((ended_s >= from_s) & (ended_s < from_s + COUNTED_S)).sum() / COUNTED_S)
        rates[family] = rates.get(family, 0.0) + rate
        rates[ALL] += rate
    return {**rates, BUSY: rates[ALL] * COUNTED_S / busy_s}
