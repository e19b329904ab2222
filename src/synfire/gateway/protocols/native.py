"""synfire's own REST: what graphs, plans and workers there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from synfire.devices import Cores
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.model import Model
from synfire.graph import Graph, flatten
from synfire.ops import Operator, Signal
from synfire.plan import Plan
from synfire.store.names import versioned
from synfire.wire.condition import Condition, Status
from synfire.wire.messages import Description, Hand, StageCount
from synfire.wire.recovery import Substituted


class SignalInfo(msgspec.Struct):
    shape: tuple[int, ...]
    kind: str
    clock: str


class OperatorInfo(msgspec.Struct):
    name: str
    kind: str
    attributes: dict[str, Any]
    parameter_bytes: int
    signal: SignalInfo
    stage: str
    content_digest: str


class SynapseInfo(msgspec.Struct):
    source: str
    target: str
    port: int
    delay_steps: int


class GraphInfo(msgspec.Struct):
    """A model's graph; `outputs` maps an output to the operator whose signal it is."""

    model: str
    version: str
    content_digest: str
    steps: int | None
    inputs: dict[str, SignalInfo]
    outputs: dict[str, str]
    operators: list[OperatorInfo]
    synapses: list[SynapseInfo]
    metadata: dict[str, Any]


class GraphSummary(msgspec.Struct):
    model: str
    version: str
    content_digest: str
    operators: int
    parameter_bytes: int


class LinkInfo(msgspec.Struct):
    """What left a stage for one receiver so far; nothing is encoded inside a worker."""

    receiver: str
    frames: int
    encoded_bytes: int
    array_bytes: int


class CheckpointInfo(msgspec.Struct):
    """What a stage has sent to gateways of its sessions' states: how often, encoded bytes, seconds of the worker's thread."""

    count: int
    bytes: int
    seconds: float


class StageInfo(msgspec.Struct):
    """A stage and what it did so far."""

    model: str
    stage: str
    jobs: int
    samples: int
    steps: int
    busy_s: float
    failures: int
    parameter_bytes: int
    links: list[LinkInfo]
    checkpoints: CheckpointInfo


class WorkerInfo(msgspec.Struct):
    """A worker. `plans` says which stages plans give to it, `ready` whether it answers; what it says itself is absent when it does not.

    `url` is where it speaks the Open Inference Protocol itself, for each of its stages and operators. `device`, `group`, `role`, `status`
    and `memory_bytes` are what the controller counts on, and so are the `cores` of its device that it may use, with the thousands of events a
    second (`keps`) where these are known; one that has `joined` is on another machine.
    """

    name: str
    plans: dict[str, list[str]]
    ready: bool = False
    url: str | None = None
    pid: int | None = None
    requests: int | None = None
    sessions: int | None = None
    buffered_bytes: int | None = None
    stages: list[StageInfo] | None = None
    device: str = "cpu"
    group: str = ""
    role: str = "host"
    status: str = ""
    joined: bool = False
    leaving: bool = False
    memory_bytes: int | None = None
    free_bytes: int | None = None
    address: str = ""
    cores: Cores | None = None
    free_cores: Cores | None = None


class ProtectionInfo(msgspec.Struct):
    """What it costs this gateway that no worker's loss costs a session: `checkpoints` that came whole so far, `bytes` of all
    states that came, and `held_bytes` of open sessions now, their states and the inputs of their calls since."""

    checkpoints: int = 0
    bytes: int = 0
    held_bytes: int = 0


class ModelInfo(msgspec.Struct):
    """A model and what it does. When there is no room for all, those of the lowest `priority` are stopped first.

    `status` says how it is served, and `reason` why not as planned: which stages an unlike engine runs, which are
    `substituted`, or why its calls wait or are refused. `failure` is the error that calls are answered by, where they are.
    """

    model: str
    version: str
    granularity: str
    stages: int
    workers: tuple[str, ...]
    running: int
    queued: int
    sessions: int
    calls: dict[str, int]
    ready: bool
    priority: int
    failure: str
    status: Status
    reason: str
    substituted: tuple[Substituted, ...]
    protection: ProtectionInfo


class Native:
    """Reads only; what there is was decided by the plan."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        yield Endpoint("GET", "/api/models", self.models, "Models and what they do now", None, list[ModelInfo])
        yield Endpoint("GET", "/api/graphs", self.graphs, "Graphs, in short", None, list[GraphSummary])
        yield Endpoint("GET", "/api/graphs/{model}", self.graph, "A graph, whole", None, GraphInfo, (404,))
        yield Endpoint("GET", "/api/plans", self.plans, "Plans", None, list[Plan])
        yield Endpoint("GET", "/api/plans/{model}", self.plan, "A plan and its reasons", None, Plan, (404,))
        yield Endpoint("GET", "/api/workers", self.workers, "Workers and their stages", None, list[WorkerInfo])

    async def models(self, request: HttpRequest) -> HttpResponse:
        return json_response([_model_info(model, self._plane.condition(model)) for model in self._plane.models])

    async def graphs(self, request: HttpRequest) -> HttpResponse:
        return json_response([_summary(model) for model in self._plane.models])

    async def graph(self, request: HttpRequest) -> HttpResponse:
        return json_response(_graph_info(self._plane.model(request.path["model"])))

    async def plans(self, request: HttpRequest) -> HttpResponse:
        return json_response([plan for model in self._plane.models for plan in model.plans])

    async def plan(self, request: HttpRequest) -> HttpResponse:
        return json_response(self._plane.model(request.path["model"]).route.plan)

    async def workers(self, request: HttpRequest) -> HttpResponse:
        recoveries = self._plane.recoveries
        models = tuple(model for model in self._plane.models if not self._plane.condition(model).away)
        hands = recoveries.workers if recoveries is not None else ()
        conditions = recoveries.conditions if recoveries is not None else {}
        resting = {name: each.resting for name, each in conditions.items()}
        return json_response(_workers(models, await self._plane.workers(), hands, resting))


def _model_info(model: Model, condition: Condition) -> ModelInfo:
    plan = model.route.plan
    return ModelInfo(
        model.name,
        model.version,
        plan.granularity,
        len(plan.stages),
        tuple(dict.fromkeys(worker for each in model.plans for worker in each.workers)),
        model.gate.running,
        model.gate.queued,
        len(model.sessions),
        model.statistics.outcomes,
        model.ready and not condition.joining,
        model.priority,
        model.failure,
        condition.status,
        condition.reason,
        condition.substituted,
        _protection(model),
    )


def _protection(model: Model) -> ProtectionInfo:
    """A route without workers keeps nothing."""
    kept = model.protection
    return ProtectionInfo(kept.checkpoints, kept.checkpoint_bytes, kept.held_bytes) if kept else ProtectionInfo()


def _summary(model: Model) -> GraphSummary:
    graph = flatten(model.route.graph)
    size = sum(each.parameter_bytes for each in graph.operators.values() if isinstance(each, Operator))
    return GraphSummary(model.name, model.version, graph.content_digest(), len(graph.operators), size)


def _graph_info(model: Model) -> GraphInfo:
    graph = flatten(model.route.graph)
    return GraphInfo(
        model.name,
        model.version,
        graph.content_digest(),
        graph.steps,
        {name: _signal(signal) for name, signal in graph.inputs.items()},
        dict(graph.outputs),
        [_operator(graph, model.route.plan, name) for name in graph.order()],
        [SynapseInfo(s.source, s.target, s.port, s.delay_steps) for s in graph.synapses],
        dict(graph.metadata),
    )


def _operator(graph: Graph, plan: Plan, name: str) -> OperatorInfo:
    each = graph.operator(name)
    stage = next((stage.name for stage in plan.stages if name in stage.operators), "")
    signal = _signal(graph.signals()[name])
    return OperatorInfo(name, each.kind, each.attributes(), each.parameter_bytes, signal, stage, each.content_digest())


def _signal(signal: Signal) -> SignalInfo:
    return SignalInfo(signal.shape, signal.kind, signal.clock)


def _workers(
    models: tuple[Model, ...],
    described: Mapping[str, Description],
    hands: Iterable[Hand],
    resting: Mapping[str, Collection[str]],
) -> list[WorkerInfo]:
    """Those that answer, are counted on, or are named by the plans of models that do not wait for them; stages that sleep, by model, are
    `resting`, and on none."""
    found = {name: _worker(name, each) for name, each in described.items()}
    for hand in hands:
        worker = found.setdefault(hand.name, WorkerInfo(hand.name, {}, url=hand.url or None))
        worker.device, worker.group, worker.role, worker.status = hand.device, hand.group, hand.role, hand.status
        worker.joined, worker.leaving, worker.address = hand.joined, hand.leaving, hand.address
        worker.memory_bytes, worker.free_bytes = hand.memory_bytes, hand.free_bytes
        worker.cores, worker.free_cores = hand.cores, hand.free_cores
    names = Counter(model.name for model in models)
    for model in models:
        called = versioned(model.name, model.version) if names[model.name] > 1 else model.name
        stages = [(plan.model, stage) for plan in model.plans for stage in plan.stages]
        for stage in (stage for name, stage in stages if stage.original not in resting.get(name, ())):
            worker = found.setdefault(stage.worker, WorkerInfo(stage.worker, {}))
            worker.plans.setdefault(called, []).append(stage.name)
    return list(found.values())


def _worker(name: str, said: Description) -> WorkerInfo:
    stages = [_stage(each) for each in said.stages]
    return WorkerInfo(
        name, {}, True, said.url or None, said.pid, said.requests, said.sessions, said.buffered_bytes, stages
    )


def _stage(count: StageCount) -> StageInfo:
    links = [LinkInfo(each.receiver, each.frames, each.encoded_bytes, each.array_bytes) for each in count.links]
    return StageInfo(
        count.model,
        count.stage,
        count.jobs,
        count.samples,
        count.steps,
        count.busy_s,
        count.failures,
        count.parameter_bytes,
        links,
        CheckpointInfo(count.checkpoints.frames, count.checkpoints.encoded_bytes, count.checkpoints.send_s),
    )


APIS.add("native", Api(endpoints=lambda plane: Native(plane).endpoints()))
