"""`/metrics`, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse
from synfire.gateway.model import Model
from synfire.gateway.recoveries import Recoveries
from synfire.gateway.traffic_metrics import cumulative, of_traffic
from synfire.wire.messages import Description

_MODEL = ["model", "version"]
_STAGE = ["worker", "model", "stage"]
_LINK = [*_STAGE, "receiver"]
_WORKER = ["worker"]
_CHAIN = ["chain", "step"]


class Metrics:
    """Reads counters when it is asked; the path of a call carries none of this."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        yield Endpoint("GET", "/metrics", self.metrics, "Metrics for Prometheus", None, "text/plain")

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        registry = CollectorRegistry()
        registry.register(_Scrape(self._plane, await self._plane.workers()))
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Scrape(Collector):
    """The state of one moment, as the Prometheus client collects it."""

    def __init__(self, plane: DataPlane, workers: Mapping[str, Description]) -> None:
        self._plane = plane
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        models = self._plane.models
        yield GaugeMetricFamily("synfire_ready", "Whether calls are accepted.", float(self._plane.ready))
        yield _calls(models)
        yield _latency(models)
        for kind, name, text, value in _OF_MODEL:
            yield _family(kind, name, text, _MODEL, [([m.name, m.version], value(m)) for m in models])
        yield from _of_chains(models)
        yield _degraded(self._plane)
        yield from of_traffic(self._plane.traffic)
        if self._plane.recoveries is not None:
            yield from _of_recoveries(self._plane.recoveries)
        for name, text, value in _OF_WORKER:
            rows = [([worker], value(each)) for worker, each in self._workers.items()]
            yield _family(GaugeMetricFamily, name, text, _WORKER, rows)
        stages = [([w, s.model, s.stage], s) for w, each in self._workers.items() for s in each.stages]
        for name, text, value in _OF_STAGE:
            yield _family(CounterMetricFamily, name, text, _STAGE, [(labels, value(s)) for labels, s in stages])
        text = "Frames that linear synapses of a stage summed by each kernel; tiled ones have one kernel, and are left out."
        kernels = [([*labels, "event"], float(s.sparse)) for labels, s in stages]
        kernels += [([*labels, "dense"], float(s.dense)) for labels, s in stages]
        yield _family(CounterMetricFamily, "synfire_stage_frames", text, [*_STAGE, "kernel"], kernels)
        for name, text, active, size in _DENSITIES:
            shares = [(labels, active(s) / size(s)) for labels, s in stages if size(s)]
            yield _family(GaugeMetricFamily, name, text, _STAGE, shares)
        links = [([*labels, link.receiver], link) for labels, s in stages for link in s.links]
        for name, text, value in _OF_LINK:
            yield _family(CounterMetricFamily, name, text, _LINK, [(labels, value(each)) for labels, each in links])


_OF_MODEL: tuple[tuple[Any, str, str, Any], ...] = (
    (GaugeMetricFamily, "synfire_model_ready", "Whether a model's calls are accepted.", lambda m: float(m.ready)),
    (CounterMetricFamily, "synfire_samples", "Samples answered.", lambda m: m.statistics.samples),
    (CounterMetricFamily, "synfire_queue_seconds", "Time that calls waited.", lambda m: m.statistics.queue.total_s),
    (CounterMetricFamily, "synfire_compute_seconds", "Time within the route.", lambda m: m.statistics.compute.total_s),
    (GaugeMetricFamily, "synfire_calls_running", "Calls within the route.", lambda m: m.gate.running),
    (GaugeMetricFamily, "synfire_calls_queued", "Calls that wait for a place.", lambda m: m.gate.queued),
    (GaugeMetricFamily, "synfire_sessions", "Open sessions.", lambda m: len(m.sessions)),
    (
        CounterMetricFamily,
        "synfire_replays",
        "Calls that were interrupted and sent again.",
        lambda m: getattr(m.route, "replays", 0),
    ),
    (
        CounterMetricFamily,
        "synfire_sessions_restored",
        "Sessions brought back from a checkpoint.",
        lambda m: getattr(m.route, "restored", 0),
    ),
    (
        CounterMetricFamily,
        "synfire_checkpoints",
        "Checkpoints of sessions that came whole.",
        lambda m: m.protection.checkpoints if m.protection else 0,
    ),
    (
        CounterMetricFamily,
        "synfire_checkpoint_bytes",
        "Bytes of the states that came for checkpoints.",
        lambda m: m.protection.checkpoint_bytes if m.protection else 0,
    ),
    (
        GaugeMetricFamily,
        "synfire_protection_held_bytes",
        "Bytes held of open sessions: their newest states, and the inputs of their calls since.",
        lambda m: m.protection.held_bytes if m.protection else 0,
    ),
)

_OF_CHAIN: tuple[tuple[str, str, Any], ...] = (
    ("synfire_chain_retries", "Steps that were tried again.", lambda counts: counts.retries),
    ("synfire_chain_seconds", "Time within steps that were answered.", lambda counts: counts.time.total_s),
)

_OF_WORKER: tuple[tuple[str, str, Any], ...] = (
    ("synfire_worker_requests", "Requests that a worker holds.", lambda each: each.requests),
    ("synfire_worker_sessions", "Sessions whose state a worker holds.", lambda each: each.sessions),
    ("synfire_worker_buffered_bytes", "Bytes that wait in a worker.", lambda each: each.buffered_bytes),
)

_OF_STAGE: tuple[tuple[str, str, Any], ...] = (
    ("synfire_stage_jobs", "Jobs that a stage ran.", lambda stage: stage.jobs),
    ("synfire_stage_samples", "Samples in those jobs.", lambda stage: stage.samples),
    ("synfire_stage_steps", "Time steps in those jobs.", lambda stage: stage.steps),
    ("synfire_stage_busy_seconds", "Time that a stage computed.", lambda stage: stage.busy_s),
    ("synfire_stage_failures", "Jobs that failed.", lambda stage: stage.failures),
    (
        "synfire_stage_checkpoints",
        "States of sessions that a stage sent to gateways.",
        lambda stage: stage.checkpoints.frames,
    ),
    (
        "synfire_stage_checkpoint_bytes",
        "Bytes of those states as encoded.",
        lambda stage: stage.checkpoints.encoded_bytes,
    ),
    (
        "synfire_stage_checkpoint_seconds",
        "Time that a worker's thread took to encode and send those states.",
        lambda stage: stage.checkpoints.send_s,
    ),
)

_DENSITIES: tuple[tuple[str, str, Any, Any], ...] = (
    (
        "synfire_stage_density",
        "How many of the spikes that a stage gives are 1, in every 16th job; stages that give none are left out.",
        lambda stage: stage.spikes,
        lambda stage: stage.places,
    ),
    (
        "synfire_stage_input_density",
        "How many of the spikes, counts and values that come for a stage are not 0, in every 16th job.",
        lambda stage: stage.active,
        lambda stage: stage.arrived,
    ),
)

_OF_LINK: tuple[tuple[str, str, Any], ...] = (
    ("synfire_link_frames", "Frames that left a stage for a receiver.", lambda link: link.frames),
    (
        "synfire_link_encoded_bytes",
        "Bytes of those frames as encoded; 0 inside a worker.",
        lambda link: link.encoded_bytes,
    ),
    ("synfire_link_array_bytes", "Bytes of those frames as arrays.", lambda link: link.array_bytes),
    (
        "synfire_link_send_seconds",
        "Time that the worker's thread took to encode and send them; 0 inside a worker.",
        lambda link: link.send_s,
    ),
)


def _of_chains(models: Iterable[Model]) -> Iterator[Metric]:
    """What the steps of chains did."""
    steps = [([m.name, step], counts) for m in models for step, counts in getattr(m.route, "counts", {}).items()]
    outcomes = [([*labels, name], float(count)) for labels, each in steps for name, count in each.outcomes.items()]
    text = "Steps of chains by how they ended."
    yield _family(CounterMetricFamily, "synfire_chain_steps", text, [*_CHAIN, "outcome"], outcomes)
    for name, text, value in _OF_CHAIN:
        yield _family(CounterMetricFamily, name, text, _CHAIN, [(labels, value(each)) for labels, each in steps])


def _of_recoveries(recoveries: Recoveries) -> Iterator[Metric]:
    counts = [([*labels], float(count)) for labels, count in recoveries.counts.items()]
    yield _family(
        CounterMetricFamily,
        "synfire_recoveries",
        "Recoveries of the deployment on record.",
        ["cause", "outcome"],
        counts,
    )
    yield GaugeMetricFamily("synfire_spares", "Spares that are ready.", float(recoveries.spares))
    yield GaugeMetricFamily("synfire_spares_wanted", "Spares that there should be.", float(recoveries.spares_wanted))


def _degraded(plane: DataPlane) -> Metric:
    rows = [([m.name, m.version], float(len(plane.condition(m).substituted))) for m in plane.models]
    text = "Stages that an unlike engine runs, because no worker has their device."
    return _family(GaugeMetricFamily, "synfire_model_substituted_stages", text, _MODEL, rows)


def _calls(models: tuple[Model, ...]) -> Metric:
    family = CounterMetricFamily("synfire_calls", "Calls by how they ended.", labels=[*_MODEL, "outcome"])
    for model in models:
        for outcome, count in model.statistics.outcomes.items():
            family.add_metric([model.name, model.version, outcome], count)
    return family


def _latency(models: tuple[Model, ...]) -> Metric:
    family = HistogramMetricFamily(
        "synfire_latency_seconds", "From arrival to the last part, answered calls.", labels=_MODEL
    )
    for model in models:
        counted = model.statistics
        family.add_metric([model.name, model.version], cumulative(counted.latency_buckets), counted.success.total_s)
    return family


def _family(kind: Any, name: str, text: str, labels: list[str], rows: list[tuple[list[str], float]]) -> Metric:
    family: Metric = kind(name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)  # type: ignore[attr-defined]
    return family


APIS.add("metrics", Api(endpoints=lambda plane: Metrics(plane).endpoints()))
