"""What a cut costs: one model uncut and cut ever finer, on one worker and on two, side by side in one gateway."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from synfire.base import garbage
from synfire.base.processes import busy_s
from synfire.bench.benchmark import (
    BENCHMARKS,
    Benchmark,
    Floor,
    Progress,
    Report,
    Settings,
    floor,
    quartiles_of,
    report,
    spread,
)
from synfire.bench.load import Job, infer_request, measure
from synfire.deploy.planning import Planned, plan_models
from synfire.deploy.serving import Background, serving_in_background
from synfire.plan import GATEWAY
from synfire.wire.batch_axis import batch_first
from synfire.zoo import Model, load, sample

UNCUT = ("model", 1, False)
COLOCATED = ("operator", 1, False)
APART = ("operator", 2, False)
CUTS = (
    UNCUT,
    COLOCATED,
    ("block", 2, False),
    APART,
    ("block", 1, True),
    ("block", 2, True),
    ("operator", 1, True),
    ("operator", 2, True),
)
FLOOR_MODEL = "svgg-mnist"
MODELS = (FLOOR_MODEL, "sresnet-mnist", "scnn-mnist", "srnn-spoken", "sgnn-digits", "stransformer-mnist")
"""One of each family."""
CONCURRENCY = 8
LOADED_ROUNDS = 9
"""Throughput is measured so many times, all cuts in turns, in another order each time."""


class Split(Benchmark):
    """Latency of a request alone, throughput of 8 connections, and bytes per frame between workers.

    Each cut is served as it is by default, with neighbours on one worker fused, and with all its stages apart. Floors are the worst of
    all models: operator-wise `colocated` on one worker, and forced `apart` onto two, each against uncut.

    Workers, gateway and the load's sender share the machine's cores. `work_s` is what a request takes of them in all, under load,
    `cores_busy` the share of the cores' time that was taken, and `throughput_limit` what the throughput's ratio would be if no core ever
    waited. `work_ratio` is the work of a request uncut by that of the cut: what the throughput's ratio comes to where both keep the
    cores equally busy. A cut that adds work comes to 1 only where uncut leaves cores idle that the cut can use.
    """

    name = "split"
    about = "granularity model, block and operator on 1 and 2 workers, against uncut"

    @property
    def parts(self) -> tuple[str, ...]:
        """The models; floors are stated by a run of all."""
        return MODELS

    def measure(self, settings: Settings, progress: Progress) -> Report:
        models = list(settings.only or (["svgg-digits"] if settings.quick else MODELS))
        rounds, seconds = (5, 0.3) if settings.quick else (300, 0.5)
        rows: list[dict[str, Any]] = []
        for model in models:
            progress(model)
            rows += _measure(model, rounds, seconds)
        floors = [] if settings.quick or settings.only else _floors(rows)
        details = {"models": models, "rounds": rounds, "seconds": seconds, "concurrency": CONCURRENCY}
        return report(self.name, settings, details, rows, floors)


BENCHMARKS.add(Split.name, Split())


def _floors(rows: Sequence[Mapping[str, Any]]) -> list[Floor]:
    colocated, apart = _rows(rows, COLOCATED), _rows(rows, APART)
    return [
        floor("colocated_latency_ratio", "<=", 1.1, max(row["latency_ratio"] for row in colocated)),
        floor("colocated_throughput_ratio", ">=", 0.95, min(row["throughput_ratio"] for row in colocated)),
        floor("apart_latency_ratio", "<=", 1.5, max(row["latency_ratio"] for row in apart)),
        floor("apart_throughput_ratio", ">=", 1.0, min(row["throughput_ratio"] for row in apart)),
        *(
            floor("split_operator_latency_ratio", "<=", 1.3, row["latency_ratio"])
            for row in apart
            if row["model"] == FLOOR_MODEL
        ),
    ]


def _rows(rows: Sequence[Mapping[str, Any]], cut: tuple[str, int, bool]) -> list[Mapping[str, Any]]:
    return [row for row in rows if (row["granularity"], row["workers"], row["apart"]) == cut]


def _measure(model: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row per cut. Each is served under a name of its own; all share the two workers."""
    graph = load(model)
    planned = [_planned(Model(_name(cut), graph, model), cut) for cut in CUTS]
    tensors = batch_first(graph.inputs, sample(graph))
    with serving_in_background(planned) as running, garbage.looking_seldom():  # as every gateway does
        url = running.addresses.url
        requests = {each.model.name: infer_request(url, each.model.name, tensors) for each in planned}
        turns = measure(Job(url=url, requests=requests, rounds=rounds)).turns
        loaded = Job(url=url, requests=requests, seconds=seconds, concurrency=CONCURRENCY)
        times = LOADED_ROUNDS if rounds > LOADED_ROUNDS else 1
        under = [_under_load(running, loaded, seed) for seed in range(times)]
        hops = _hops(running)
    return [_row(model, cut, each, turns, under, hops) for cut, each in zip(CUTS, planned, strict=True)]


class Under(NamedTuple):
    """What came of a cut under load: requests a second, and seconds of a processor that each took."""

    requests_s: float
    work_s: float


def _under_load(running: Background, job: Job, seed: int) -> dict[str, Under]:
    """Every cut once, by name, in the order of the seed."""
    names = sorted(job.requests)
    random.Random(seed).shuffle(names)
    return {name: _loaded(running, msgspec.structs.replace(job, requests={name: job.requests[name]})) for name in names}


def _loaded(running: Background, job: Job) -> Under:
    """One cut: the work is that of the workers, of the gateway, which is here, and of the load's sender."""
    workers = [each.pid for each in running.describe().values()]
    before_s = time.process_time() + sum(map(busy_s, workers))
    found = measure(job)
    after_s = time.process_time() + sum(map(busy_s, workers))
    (name,) = job.requests
    work_s = (after_s - before_s) / max(len(found.loaded[name]), 1) + found.work_s[name]
    return Under(found.requests_s[name], work_s)


def _work(name: str, under: Sequence[Mapping[str, Under]]) -> dict[str, float]:
    """The work of a request, by itself and beside uncut; each number is a median of those of the single rounds."""
    own, uncut, cores = [each[name] for each in under], _name(UNCUT), len(os.sched_getaffinity(0))
    beside = [(each[name], each[uncut]) for each in under]
    return {
        "work_s": statistics.median(each.work_s for each in own),
        "cores_busy": statistics.median(each.requests_s * each.work_s / cores for each in own),
        "work_ratio": statistics.median(whole.work_s / each.work_s for each, whole in beside),
        "throughput_limit": statistics.median(cores / each.work_s / whole.requests_s for each, whole in beside),
    }


def _planned(model: Model, cut: tuple[str, int, bool]) -> Planned:
    granularity, workers, apart = cut
    (planned,) = plan_models([model], granularity, workers, apart=apart)
    return planned


def _name(cut: tuple[str, int, bool]) -> str:
    return f"{cut[0]}-{cut[1]}{'-apart' if cut[2] else ''}"


def _row(
    model: str,
    cut: tuple[str, int, bool],
    planned: Planned,
    turns: Mapping[str, Sequence[float]],
    under: Sequence[Mapping[str, Under]],
    hops: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    name, uncut = _name(cut), _name(UNCUT)
    size, frames = hops.get(name, (0, 0))
    return {
        "model": model,
        "granularity": cut[0],
        "workers": cut[1],
        "apart": cut[2],
        "stages": len(planned.plan.stages),
        "frame_steps": planned.plan.frame_steps,
        **spread(turns[name]),
        "latency_ratio": statistics.median(turns[name]) / statistics.median(turns[uncut]),
        "predicted_s": planned.plan.latency_s,
        **quartiles_of("requests_s", [each[name].requests_s for each in under]),
        **quartiles_of("throughput_ratio", [each[name].requests_s / each[uncut].requests_s for each in under]),
        **_work(name, under),
        "hop_bytes": size / frames if frames else 0.0,
    }


def _hops(running: Background) -> dict[str, list[int]]:
    """Encoded bytes and frames that left a stage for another worker, by model."""
    found: dict[str, list[int]] = {}
    for description in running.describe().values():
        for stage in description.stages:
            for link in stage.links:
                if link.encoded_bytes and link.receiver != GATEWAY:
                    total = found.setdefault(stage.model, [0, 0])
                    total[0] += link.encoded_bytes
                    total[1] += link.frames
    return found
