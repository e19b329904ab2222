"""Cores of emulated darwin3 chips die under a closed loop of requests: six ways to go on, from the same faults.

(a) to (c) deploy the whole stage again; (d) replaces the operator: cold, warm, hot. Every way really does its steps on the emulated
chip, and is judged by the answers: the replayed request and those after it have to be those of an undisturbed chip, bit by bit.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from synfire.base.errors import PermanentError, SynfireError
from synfire.bench.arms.arm import ARMS, Arm, Chapter, Conditions, Outcome
from synfire.bench.arms.chips_costs import ASSUMED, STEPS, WORD_BYTES, WORDS_HIGH_S, WORDS_LOW_S, Repaired
from synfire.bench.arms.chips_networks import WIDE, Seat, Stage, stages_of, wide_stage
from synfire.bench.arms.chips_report import chapter
from synfire.bench.arms.chips_ways import WAYS, Cold, Hot, Recompile, Redeploy, Toolchain, Warm, Way
from synfire.bench.benchmark import Floor, Progress, floor
from synfire.bench.trials import LATE_S, bootstrap, quantile
from synfire.bench.witness import LOST, RIGHT, WRONG
from synfire.devices.darwin3.faults import CoreDead

TRIALS, WIDE_TRIALS, QUICK_TRIALS = 40, 8, 2

BEFORE, AFTER = 1, 1
"""Requests that are asked before the one that the fault strikes, and after its replay."""

SMALL_CORES, LARGE_CORES = 16, 100
"""From how many cores on the floors speak of a network."""


@dataclass(frozen=True)
class Fault:
    """A core that dies in a stage, after so many of the chip's steps of a request."""

    stage: Stage
    core: tuple[int, int]
    request: int
    after_steps: int


class Chips(Arm):
    name = "chips"
    about = "a core of an emulated darwin3 chip dies; all is deployed again in three ways, or its operator replaced in three"

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        rows: list[dict[str, Any]] = []
        for family, stages in _networks(conditions, progress):
            trials = QUICK_TRIALS if conditions.quick else WIDE_TRIALS if family in WIDE else TRIALS
            faults = list(_faults(stages, trials, random.Random(f"{conditions.seed}-{family}")))
            rows += _rows(family, stages, _measured(faults, family, progress))
        floors = tuple(_floors(rows))
        return Outcome((*rows, *_summaries(rows)), floors, details={"assumed": asdict(ASSUMED)})

    def chapter(self, rows: Sequence[Mapping[str, Any]]) -> Chapter | None:
        return chapter([row for row in rows if row["arm"] in {way.name for way in WAYS}])


ARMS.add(Chips.name, Chips())


def _networks(conditions: Conditions, progress: Progress) -> Iterator[tuple[str, list[Stage]]]:
    """Each network by name, with its stages; a smoke run has no wide ones."""
    for model in conditions.models:
        progress(f"chips: {model}")
        yield model.partition("-")[0], stages_of(model)
    for name in () if conditions.quick else WIDE:
        progress(f"chips: {name}")
        yield name, [wide_stage(name, conditions.seed)]


def _faults(stages: Sequence[Stage], trials: int, rng: random.Random) -> Iterator[Fault]:
    """Random cores that hold neurons die, each somewhere in a random request."""
    cores = [(stage, core) for stage in stages for core in stage.compiled.linked.places.values()]
    for _ in range(trials):
        stage, core = rng.choice(cores)
        yield Fault(stage, core, rng.randrange(stage.requests), rng.randrange(1, stage.chip_steps))


def _measured(faults: Sequence[Fault], family: str, progress: Progress) -> dict[str, list[Repaired]]:
    """Every fault in every way, in turns; the first is done twice, and its first time, when all is loaded, not counted."""
    ways = [way() for way in WAYS]
    found: dict[str, list[Repaired]] = {way.name: [] for way in ways}
    for number, fault in enumerate([faults[0], *faults]):
        progress(f"chips: {family}: core {number} of {len(faults)}")
        for way in ways:
            repaired = repair(way, fault)
            if number:
                found[way.name].append(repaired)
    return found


def repair(way: Way, fault: Fault) -> Repaired:
    """A core dies while a request is under way; the chip is made right, the request replayed, and the loop goes on."""
    stage, seat = fault.stage, way.seated(fault.stage)
    verdicts = [_asked(stage, seat, fault.request - 1 - i) for i in range(BEFORE)]
    seat.chip.inject(CoreDead(fault.core), after_steps=fault.after_steps)
    with suppress(PermanentError):  # the host may ask the dead core for membranes; either way the request is void
        seat.run(stage.request(fault.request))
    written = seat.chip.written_words
    seconds = way.recover(stage, seat, seat.chip.health())
    words = seat.chip.written_words - written
    verdicts += [_asked(stage, seat, fault.request + i) for i in range(1 + AFTER)]
    linked = stage.compiled.linked
    return Repaired(
        seconds=seconds,
        resets=way.resets,
        words=words,
        own_words=linked.cores[fault.core].size,
        full_words=linked.words,
        spike_steps=stage.first_spike(fault.request),
        lost_steps=fault.after_steps,
        chip_steps=stage.chip_steps,
        step_s=stage.step_s,
        requests=len(verdicts),
        lost=verdicts.count(LOST),
        wrong=verdicts.count(WRONG),
    )


def _asked(stage: Stage, seat: Seat, number: int) -> int:
    """Ask one of the stage's requests: RIGHT, WRONG by any bit, or LOST to an error."""
    number %= stage.requests
    try:
        found = seat.run(stage.request(number))
    except SynfireError:
        return LOST
    return RIGHT if stage.answers(number, found) else WRONG


def _rows(family: str, stages: Sequence[Stage], measured: Mapping[str, Sequence[Repaired]]) -> Iterator[dict[str, Any]]:
    """A row for each way."""
    middle = {name: _middle(each.recovery_s() for each in found) for name, found in measured.items()}
    for name, found in measured.items():
        yield {
            "arm": name,
            "family": family,
            "cores": sum(len(stage.compiled.linked.cores) for stage in stages),
            **_counts(found),
            **_times(found),
            **_bytes(found),
            "vs_recompile": middle[Recompile.name] / middle[name],
            "vs_redeploy": middle[Redeploy.name] / middle[name],
            **(_published(found) if name == Toolchain.name else {}),
            "measured": [asdict(each) for each in found],
        }


def _counts(found: Sequence[Repaired]) -> dict[str, int]:
    return {
        "trials": len(found),
        "requests": sum(each.requests for each in found),
        "lost": sum(each.lost for each in found),
        "wrong": sum(each.wrong for each in found),
        "late": sum(each.outage_s() > LATE_S for each in found),
    }


def _times(found: Sequence[Repaired]) -> dict[str, float]:
    """Medians of the steps and of the whole, and what the client of the struck request waits."""
    steps = [each.steps() for each in found]
    outages_s = [each.outage_s() for each in found]
    times = {f"{name}_s": _middle(each[name] for each in steps) for name in STEPS if name in steps[0]}
    times["recovery_s"] = _middle(each.recovery_s() for each in found)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        low_s, high_s = bootstrap(outages_s, share)
        times |= {f"outage_{name}_s": quantile(outages_s, share)}
        times |= {f"outage_{name}_low_s": low_s, f"outage_{name}_high_s": high_s}
    return {**times, "outage_max_s": max(outages_s)}


def _bytes(found: Sequence[Repaired]) -> dict[str, float]:
    """What was written, of the whole image, and of the dead core's own."""
    return {
        "written_bytes": _middle(each.words * WORD_BYTES for each in found),
        "full_bytes": _middle(each.full_words * WORD_BYTES for each in found),
        "share": _middle(each.words / each.full_words for each in found),
        "share_worst": max(each.words / each.full_words for each in found),
        "of_own_worst": max(each.words / each.own_words for each in found),
    }


def _published(found: Sequence[Repaired]) -> dict[str, float]:
    """What the toolchain's own compiler would take for as many words, at best and at worst."""
    words = _middle(each.full_words for each in found)
    return {"published_low_s": WORDS_LOW_S * words, "published_high_s": WORDS_HIGH_S * words}


def _middle(values: Iterable[float]) -> float:
    """The median, as all arms take it: a value that was seen."""
    return quantile(list(values), 0.5)


def _summaries(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """How much faster each way is in the median family, and in the worst."""
    for way in (Cold, Warm, Hot):
        families = [row for row in rows if row["arm"] == way.name and row["family"] not in WIDE]
        for name, of in (("median family", statistics.median), ("worst family", min)):
            ratios = {key: of([row[key] for row in families]) for key in ("vs_recompile", "vs_redeploy")}
            yield {"arm": way.name, "family": name, "trials": sum(row["trials"] for row in families), **ratios}


def _floors(rows: Sequence[Mapping[str, Any]]) -> Iterator[Floor]:
    """Bytes are judged where the image itself is written (cold, warm), times where the spare has it (hot)."""
    replaced = [row for row in rows if row["arm"] in (Cold.name, Warm.name)]
    small = [row["share_worst"] for row in replaced if row["cores"] >= SMALL_CORES]
    hot = [row for row in rows if row["arm"] == Hot.name]
    large = [row for row in hot if row["cores"] >= LARGE_CORES]
    for name in ("lost", "wrong"):
        yield floor(f"darwin3_{name}", "==", 0, sum(row[name] for row in rows))
    yield floor("darwin3_relink_overhead", "<=", 1.1, max(row["of_own_worst"] for row in replaced))
    if small:
        yield floor("darwin3_bytes_ratio", "<=", 0.1, max(small))
    for name, limit in (("vs_recompile", 20), ("vs_redeploy", 5)):
        families = [row[name] for row in hot if row["family"] not in WIDE]
        yield floor(f"darwin3_{name}", ">=", limit, statistics.median(families))
        if large:
            yield floor(f"darwin3_{name}_wide", ">=", limit, min(row[name] for row in large))
