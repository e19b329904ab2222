"""Every family of the zoo against what an expert makes of the same weights by hand: compiled torch, onnxruntime, OpenVINO."""

from __future__ import annotations

import importlib.util
import math
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from synfire.base.errors import Bug, UserError
from synfire.bench.baselines import PACKAGES, THREADS, Baseline, Call, Own, baselines
from synfire.bench.benchmark import (
    BENCHMARKS,
    Benchmark,
    Floor,
    Progress,
    Report,
    Settings,
    floor,
    in_turns,
    report,
    spread,
)
from synfire.bench.frameworks import Case, agreement, cases
from synfire.testing.parity import neuron_layers
from synfire.zoo import names

OURS = Own()

FLIPPED = 1e-3
"""So many of a baseline's spikes may be elsewhere: rounding flips one, and that one others behind it."""


class Expert(Benchmark):
    """synfire against the fastest of three baselines, each at its best settings with one thread or two.

    In all of them BatchNorm is folded into the weights, time is folded into the batch, what stays the same over the steps is
    computed once, and neurons run over all steps at once. For each case every setting is tried, and the best of
    each is then measured in turns.
    """

    name = "expert"
    about = (
        "every family against compiled torch, onnxruntime and OpenVINO on the same weights and inputs, batch 1 and 16"
    )
    environment = "make expert"
    shown = (
        "model", "batch", "baseline", "settings", "median_s", "q1_s", "q3_s", "speedup", "same_predictions", "max_difference",
        "spikes", "flips", "refused",
    )  # fmt: skip

    @property
    def parts(self) -> tuple[str, ...]:
        """The models; floors are stated by a run of all."""
        return tuple(names())

    def measure(self, settings: Settings, progress: Progress) -> Report:
        _require()
        models = settings.only or (("svgg-digits",) if settings.quick else self.parts)
        rows: list[dict[str, Any]] = []
        for case in cases(models):
            rows += _rows(case, settings.quick, progress)
        details = {"models": list(models), "threads": THREADS, "baselines": {name: version(name) for name in PACKAGES}}
        return report(self.name, settings, details, rows, () if settings.only else _floors(rows))


BENCHMARKS.add(Expert.name, Expert())


def _floors(rows: Sequence[Mapping[str, Any]]) -> list[Floor]:
    fastest = list(speedups(rows).values())
    return [
        floor("expert_geomean_speedup", ">=", 2.0, statistics.geometric_mean(fastest)),
        floor("expert_min_speedup", ">=", 1.0, min(fastest)),
    ]


def speedups(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], float]:
    """By model and batch, how much longer than synfire the fastest baseline takes."""
    found: dict[tuple[str, int], float] = {}
    for row in rows:
        if row["baseline"] != OURS.name and "speedup" in row:
            case = row["model"], row["batch"]
            found[case] = min(found.get(case, math.inf), row["speedup"])
    return found


def _require() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"this benchmark needs {', '.join(missing)}, which cannot be imported; `make expert` installs what it compares with; "
            "then run .venv-expert/bin/synfire bench expert"
        )
    if shutil.which("g++") is None:
        raise UserError("torch compiles with g++, and there is none; on Debian and Ubuntu: apt install g++")


def _rows(case: Case, quick: bool, progress: Progress) -> list[dict[str, Any]]:
    """One row for synfire and for each baseline; `speedup` is its median time over synfire's."""
    about = {"model": case.model, "data": case.data, "batch": case.batch}
    rounds = 3 if quick else 15
    progress(f"{case.model}, batch {case.batch}: {OURS.name}")
    ours = _fastest(OURS, case, rounds)
    found: dict[str, Found] = {}
    refused: list[dict[str, Any]] = []
    for baseline in baselines():
        progress(f"{case.model}, batch {case.batch}: {baseline.name}")
        try:
            found[baseline.name] = _found(baseline, case, rounds)
        except UserError as error:
            refused.append({**about, "baseline": baseline.name, "refused": str(error)})
    progress(f"{case.model}, batch {case.batch}: in turns")
    measured = _measured(ours, found, 3 if quick else 60)
    return [{**about, **row} for row in measured] + refused


class Fastest(NamedTuple):
    """A case at the settings that answer it first."""

    settings: str
    call: Call


class Found(NamedTuple):
    """A baseline at its fastest, and how many spikes of the net's neurons it has, and how many not as synfire has them."""

    fastest: Fastest
    spikes: int
    flips: int


def _found(baseline: Baseline, case: Case, rounds: int) -> Found:
    """Compare what the net computes inside, and try every setting for a moment."""
    spikes, flips = _flips(case, baseline.plainest(_observed(case)))
    if flips > FLIPPED * spikes:
        raise Bug(f"{baseline.name} has {flips} of {case.model}'s {spikes} spikes elsewhere: it computes another net")
    return Found(_fastest(baseline, case, rounds), spikes, flips)


def _fastest(baseline: Baseline, case: Case, rounds: int) -> Fastest:
    calls = dict(baseline.settings(case))
    times = in_turns(calls, rounds, untimed=1)
    fastest = min(calls, key=lambda name: statistics.median(times[name]))
    return Fastest(fastest, calls[fastest])


def _observed(case: Case) -> Case:
    """With the spikes of every layer as outputs."""
    layers = {name: name for name in neuron_layers(case.graph)}
    return replace(case, graph=replace(case.graph, outputs={**case.graph.outputs, **layers}))


def _flips(case: Case, call: Call) -> tuple[int, int]:
    """(spikes, those that are not where synfire has them)."""
    ours, theirs = OURS.plainest(_observed(case))(), call()
    layers = neuron_layers(case.graph)
    spikes = sum(int(np.count_nonzero(ours[name])) for name in layers)
    return spikes, sum(int(np.count_nonzero(ours[name] != theirs[name])) for name in layers)


def _measured(ours: Fastest, found: Mapping[str, Found], rounds: int) -> Iterator[dict[str, Any]]:
    fastest = {OURS.name: ours, **{name: each.fastest for name, each in found.items()}}
    times = in_turns({name: each.call for name, each in fastest.items()}, rounds, untimed=1)
    answers, ours_s = ours.call(), statistics.median(times[OURS.name])
    for name, seconds in times.items():
        row: dict[str, Any] = {"baseline": name, "settings": fastest[name].settings, **spread(seconds)}
        if name in found:
            each = found[name]
            row |= {"spikes": each.spikes, "flips": each.flips}
            row |= {"speedup": row["median_s"] / ours_s, **agreement(answers, each.fastest.call())}
        yield row
