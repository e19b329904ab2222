"""What the Open Inference Protocol tells of a server and its models, in its REST and its gRPC form alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from synfire import __version__
from synfire.gateway.chains import ChainRoute
from synfire.gateway.dataplane import DataPlane, Repository
from synfire.gateway.language.stored import all_stored_models
from synfire.gateway.model import Model
from synfire.gateway.outputs import caller_shape
from synfire.gateway.statistics import Duration
from synfire.gateway.status import NotSupported
from synfire.graph import Graph, flatten
from synfire.ops import Kind, Signal
from synfire.store.names import DEFAULT_VERSION
from synfire.wire.batch_axis import BATCHES
from synfire.wire.oip import datatype_of

EXTENSIONS = (
    "binary_tensor_data",
    "sequence",
    "statistics",
    "model_repository",
    "model_configuration",
    "logging",
    "trace",
)
"""The extensions that we serve. Of `model_repository` it is the index; of `trace` the settings, which are fixed."""


class TensorMetadata(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: Sequence[TensorMetadata]
    outputs: Sequence[TensorMetadata]


class TensorDescription(TensorMetadata, omit_defaults=True):
    """An input tells in `parameters` what it takes: `request`, in the words of the model's card; and, of files, what reads them:
    `decoder`, an operator's kind, and its `attributes`.
    """

    parameters: dict[str, Any] = {}


class ModelDescription(ModelMetadata, omit_defaults=True):
    """Metadata over REST, where there is room for `parameters`: `labels`, the classes' names, where the model has some; `request`,
    what a request holds, where that is said of several inputs together; and `batches`, false where no axis counts samples.
    """

    inputs: Sequence[TensorDescription]
    parameters: dict[str, Any] = {}


class ServerMetadata(msgspec.Struct):
    name: str
    version: str
    extensions: tuple[str, ...]


class ModelIndex(msgspec.Struct):
    name: str
    version: str
    state: str
    reason: str = ""


class StatisticDuration(msgspec.Struct):
    count: int = 0
    ns: int = 0


class InferStatistics(msgspec.Struct):
    success: StatisticDuration
    fail: StatisticDuration
    queue: StatisticDuration
    compute_input: StatisticDuration
    compute_infer: StatisticDuration
    compute_output: StatisticDuration


class ModelStatistics(msgspec.Struct):
    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics


class ConfigTensor(msgspec.Struct):
    name: str
    data_type: str
    dims: list[int]


class ModelConfig(msgspec.Struct):
    """As much of Triton's model configuration as is true here."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    model_transaction_policy: dict[str, bool]


def server_metadata() -> ServerMetadata:
    return ServerMetadata("synfire", __version__, EXTENSIONS)


def model_metadata(plane: DataPlane, model: Model) -> ModelMetadata:
    graph = model.route.graph
    return ModelMetadata(
        model.name,
        plane.versions(model.name),
        "synfire",
        [_tensor(name, signal, False, graph.batches) for name, signal in graph.inputs.items()],
        [_tensor(name, signal, True, graph.batches) for name, signal in graph.output_signals().items()],
    )


def model_description(plane: DataPlane, model: Model) -> ModelDescription:
    """The metadata, and what a caller needs to make requests of files, and words of answers."""
    about, graph = model_metadata(plane, model), flatten(model.route.graph)
    inputs = [TensorDescription(t.name, t.datatype, t.shape, _request(graph, t.name)) for t in about.inputs]
    told = {"labels": graph.metadata.get("labels"), "request": graph.metadata.get("input") if len(inputs) > 1 else None}
    parameters = {name: value for name, value in told.items() if value} | ({} if graph.batches else {BATCHES: False})
    return ModelDescription(about.name, about.versions, about.platform, inputs, about.outputs, parameters)


def model_config(plane: DataPlane, model: Model) -> ModelConfig:
    """Sizes as Triton has them: without the batch axis, −1 for what differs from request to request. No batch at all is 0."""
    about, batches = model_metadata(plane, model), model.route.graph.batches
    inputs, outputs = ([_config(each, batches) for each in tensors] for tensors in (about.inputs, about.outputs))
    ragged = batches and any(each.shape[0] == 1 for each in about.inputs)
    batch = 1 if ragged else plane.limits.samples(model.route.graph) if batches else 0
    return ModelConfig(model.name, "synfire", "synfire", batch, inputs, outputs, {"decoupled": False})


def why_not_ready(plane: DataPlane, model: Model) -> str:
    """Why a model takes no calls now; empty when it does."""
    if plane.draining:
        return "the gateway is shutting down; call another one"
    if (condition := plane.condition(model)).joining:
        return condition.reason
    if model.ready:
        return ""
    return (
        model.failure
        or f"a worker of model {model.name!r} is leaving, and its operators are moved; calls wait meanwhile"
    )


def shortfall(plane: DataPlane, model: Model) -> str:
    """Why a model that takes calls is not served as planned: which stages an unlike engine runs, or what its calls wait for."""
    condition = plane.condition(model)
    return "" if model.failure else condition.reason


async def repository_index(plane: DataPlane, ready_only: bool) -> list[ModelIndex]:
    """What is served, and in which state; and what of the store would be. A model that is READY has a reason, too, where it is not
    served as planned."""
    states = [(model, why_not_ready(plane, model)) for model in plane.models]
    served = [
        ModelIndex(model.name, model.version, "UNAVAILABLE" if why else "READY", why or shortfall(plane, model))
        for model, why in states
        if not (why and ready_only)
    ]
    known = {model.name for model in plane.models}
    served += [
        _ruled(plane, name, model) for name, model in plane.ruled if not (ready_only and why_not_ready(plane, model))
    ]
    coming = () if ready_only else tuple(plane.coming)
    served += [ModelIndex(name, DEFAULT_VERSION, "UNAVAILABLE", plane.coming.why(name)) for name in coming]
    stored = () if ready_only else await all_stored_models(plane.on_demand)
    return served + [
        ModelIndex(each.name, DEFAULT_VERSION, "UNAVAILABLE", "it is in the store: a call loads it")
        for each in stored
        if each.name not in known
    ]


def _ruled(plane: DataPlane, name: str, model: Model) -> ModelIndex:
    """A name that answers by a rule, as ready as its side with the greatest share."""
    why = why_not_ready(plane, model)
    told = f"it is answered by {plane.traffic.rules[name].words}"
    return ModelIndex(name, model.version, "UNAVAILABLE" if why else "READY", f"{told}: {why}" if why else told)


def repository(plane: DataPlane, verb: str, name: str) -> Repository:
    """Who loads and unloads models, and has names answer by rules. Raises `NotSupported` where nobody does, and for a chain, which takes no
    memory."""
    if name in plane.asked_chains:
        raise NotSupported(
            f"cannot {verb} {name!r}: it is a chain that was asked for over HTTP; DELETE /api/deployment/chains/{name} ends it"
        )
    if any(model.name == name and isinstance(model.route, ChainRoute) for model in plane.models):
        raise NotSupported(
            f"cannot {verb} {name!r}: it is a chain, which takes no memory and is served as long as this deployment; {verb} a model that it calls"
        )
    return changing(plane, verb, name)


def changing(plane: DataPlane, verb: str, name: str) -> Repository:
    """Who changes what is served. Raises `NotSupported` where nobody does."""
    if plane.repository is None:
        raise NotSupported(
            f"cannot {verb} model {name!r}: what this gateway serves was fixed when it started; start another with `synfire "
            "serve NAME…`"
        )
    return plane.repository


def statistics(models: tuple[Model, ...]) -> list[ModelStatistics]:
    """Counters since the start. What happens before and after the route is not timed apart, so those stay 0."""
    return [_model_statistics(model) for model in models]


def _model_statistics(model: Model) -> ModelStatistics:
    counted = model.statistics
    times = InferStatistics(
        success=_duration(counted.success),
        fail=_duration(counted.failure),
        queue=_duration(counted.queue),
        compute_input=StatisticDuration(),
        compute_infer=_duration(counted.compute),
        compute_output=StatisticDuration(),
    )
    last_ms = int(counted.last_answer_s * 1e3)
    return ModelStatistics(model.name, model.version, last_ms, counted.samples, counted.success.count, times)


def _duration(duration: Duration) -> StatisticDuration:
    return StatisticDuration(duration.count, int(duration.total_s * 1e9))


def _tensor(name: str, signal: Signal, output: bool, batches: bool) -> TensorMetadata:
    return TensorMetadata(name, datatype_of(signal.kind.dtype), caller_shape(signal, output, batches))


def _request(graph: Graph, name: str) -> dict[str, Any]:
    """What an input takes; the graph's words hold for its own only input, not for picture files that were put in front."""
    decoder, words = _decoder(graph, name), graph.metadata.get("input")
    told = words and len(graph.inputs) == 1 and decoder.get("decoder") != "ImageDecode"
    return {"request": words, **decoder} if told else decoder


def _decoder(graph: Graph, name: str) -> dict[str, Any]:
    """What reads the files of an input; nothing for an input of numbers."""
    if graph.inputs[name].kind is not Kind.BYTES:
        return {}
    readers = [graph.operator(each.target) for each in graph.synapses if each.source == name]
    return {"decoder": readers[0].kind, "attributes": readers[0].attributes()} if readers else {}


def _config(tensor: TensorMetadata, batches: bool) -> ConfigTensor:
    kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return ConfigTensor(tensor.name, f"TYPE_{kind}", tensor.shape[batches:])
