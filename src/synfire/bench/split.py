"""What a cut costs: one model uncut and cut ever finer, on one worker and on two, side by side in one gateway."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, report, spread
from synfire.bench.load import Job, Measured, infer_request, measure
from synfire.deploy.planning import Planned, plan_models
from synfire.deploy.serving import Background, serving_in_background
from synfire.plan import GATEWAY
from synfire.wire.client import batch_first
from synfire.zoo import Model, load, names, sample

UNCUT = ("model", 1, False)
CUTS = (
    UNCUT,
    ("block", 2, False),
    ("operator", 2, False),
    ("block", 1, True),
    ("block", 2, True),
    ("operator", 1, True),
    ("operator", 2, True),
)
FLOOR_MODEL = "svgg-mnist"
MODELS = (FLOOR_MODEL, "sresnet-mnist", "scnn-mnist", "stransformer-mnist")
CONCURRENCY = 8


class Split(Benchmark):
    """Latency of a request alone, throughput of 8 connections, and bytes per frame between workers.

    Each cut is served as it is by default, with neighbours on one worker fused, and with all its stages apart.
    """

    name = "split"
    about = "granularity model, block and operator on 1 and 2 workers, against uncut"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        models = ["svgg-digits"] if settings.quick else [name for name in names() if name in MODELS]
        rounds, seconds = (5, 0.3) if settings.quick else (300, 2.0)
        rows: list[dict[str, Any]] = []
        for model in models:
            progress(model)
            rows += _measure(model, rounds, seconds)
        ratios = [row["latency_ratio"] for row in rows if _floor_row(row)]
        floors = [floor("split_operator_latency_ratio", "<=", 1.3, max(ratios))] if ratios else []
        details = {"models": models, "rounds": rounds, "seconds": seconds, "concurrency": CONCURRENCY}
        return report(self.name, settings, details, rows, floors)


BENCHMARKS.add(Split.name, Split())


def _floor_row(row: Mapping[str, Any]) -> bool:
    return (row["model"], row["granularity"], row["workers"], row["apart"]) == (FLOOR_MODEL, "operator", 2, False)


def _measure(model: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row per cut. Each is served under a name of its own; all share the two workers."""
    graph = load(model)
    planned = [_planned(Model(_name(cut), graph, model), cut) for cut in CUTS]
    tensors = batch_first(graph.inputs, sample(graph))
    with serving_in_background(planned) as running:
        url = running.addresses.url
        requests = {each.model.name: infer_request(url, each.model.name, tensors) for each in planned}
        found = measure(Job(url=url, requests=requests, rounds=rounds, seconds=seconds, concurrency=CONCURRENCY))
        hops = _hops(running)
    return [_row(model, cut, each, found, hops) for cut, each in zip(CUTS, planned, strict=True)]


def _planned(model: Model, cut: tuple[str, int, bool]) -> Planned:
    granularity, workers, apart = cut
    (planned,) = plan_models([model], granularity, workers, apart=apart)
    return planned


def _name(cut: tuple[str, int, bool]) -> str:
    return f"{cut[0]}-{cut[1]}{'-apart' if cut[2] else ''}"


def _row(
    model: str, cut: tuple[str, int, bool], planned: Planned, found: Measured, hops: Mapping[str, Sequence[int]]
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
        **spread(found.turns[name]),
        "latency_ratio": statistics.median(found.turns[name]) / statistics.median(found.turns[uncut]),
        "predicted_s": planned.plan.latency_s,
        "requests_s": found.requests_s[name],
        "throughput_ratio": found.requests_s[name] / found.requests_s[uncut],
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
