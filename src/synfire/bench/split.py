"""What a cut costs: one model uncut and cut ever finer, on one worker and on two, side by side in one gateway."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from synfire.base import garbage
from synfire.base.processes import busy_s
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Progress, Report, Settings, floor, report, spread
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
    and `throughput_limit` what the throughput's ratio would be if no core ever waited: a cut that adds work where uncut leaves no
    core idle cannot come to 1, however it is done.
    """

    name = "split"
    about = "granularity model, block and operator on 1 and 2 workers, against uncut"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        models = ["svgg-digits"] if settings.quick else list(MODELS)
        rounds, seconds = (5, 0.3) if settings.quick else (300, 0.5)
        rows: list[dict[str, Any]] = []
        for model in models:
            progress(model)
            rows += _measure(model, rounds, seconds)
        floors = [] if settings.quick else _floors(rows)
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
        rates = [measure(msgspec.structs.replace(loaded, seed=seed)).requests_s for seed in range(times)]
        work = {
            name: _work_s(running, msgspec.structs.replace(loaded, requests={name: requests[name]}))
            for name in requests
        }
        hops = _hops(running)
    rows = [_row(model, cut, each, turns, rates, hops) for cut, each in zip(CUTS, planned, strict=True)]
    return [{**row, **_limit(work[_name(cut)], rates)} for row, cut in zip(rows, CUTS, strict=True)]


def _work_s(running: Background, loaded: Job) -> float:
    """Seconds of a processor that a request takes under load: of the workers, the gateway, which is here, and its sender."""
    workers = [each.pid for each in running.describe().values()]
    before_s = time.process_time() + sum(map(busy_s, workers))
    found = measure(loaded)
    after_s = time.process_time() + sum(map(busy_s, workers))
    (name,) = loaded.requests
    return (after_s - before_s) / max(len(found.loaded[name]), 1) + found.work_s[name]


def _limit(work_s: float, rates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The work of a request, and the throughput against uncut that all cores of the machine would give with it."""
    uncut = statistics.median(each[_name(UNCUT)] for each in rates)
    return {"work_s": work_s, "throughput_limit": len(os.sched_getaffinity(0)) / work_s / uncut}


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
    rates: Sequence[Mapping[str, float]],
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
        "requests_s": statistics.median(each[name] for each in rates),
        "throughput_ratio": statistics.median(each[name] / each[uncut] for each in rates),
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
