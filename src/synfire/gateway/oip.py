"""The Open Inference Protocol's meaning, for its REST and its gRPC form alike: parameters, metadata, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from synfire import __version__
from synfire.base.errors import UnknownName, UserError
from synfire.gateway.dataplane import DataPlane, Model
from synfire.gateway.outputs import caller_shape
from synfire.gateway.request import Answer, Request
from synfire.gateway.statistics import Duration
from synfire.gateway.status import NotSupported
from synfire.graph import Graph, flatten
from synfire.ops import Kind, Signal
from synfire.wire.oip import InferRequest, InferResponse, datatype_of

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

STEP_BY_STEP = "step_by_step"
"""Request parameter of the streaming endpoints: false asks for one response with everything instead of one per part."""

PART_STEPS = "part_steps"
"""Request parameter of the streaming endpoints: how many time steps each part holds; 1 when left out."""

FINAL = "triton_final_response"
"""Response parameter of the streaming endpoints: whether this is the request's last response."""

_LONGEST_US = 10**15  # thirty years: any whole number may come, and not all of them fit into a float

REQUEST_PARAMETERS: Mapping[str, Any] = {
    "sequence_id": (int, str),
    "sequence_start": bool,
    "sequence_end": bool,
    "timeout": int,
    "binary_data_output": bool,
    STEP_BY_STEP: bool,
    PART_STEPS: int,
    "triton_enable_empty_final_response": bool,
}
"""What a request's `parameters` may hold, and of which types. Others would be ignored, so they are refused."""


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
    """Metadata over REST, where there is room for `parameters`: `labels`, the classes' names, where the model has some, and
    `request`, what a request holds, where that is said of several inputs together.
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


def to_request(model: str, version: str, asked: InferRequest, timeout_s: float | None = None) -> Request:
    """The data plane's request. `timeout_s` is what the transport allows, beside the `timeout` parameter (µs)."""
    parameters = _checked(asked.parameters)
    for each in asked.outputs:
        _check_output(each.name, each.parameters)
    part_steps = parameters.get(PART_STEPS, 0)
    if PART_STEPS in parameters and part_steps < 1:
        raise UserError(f"request parameter {PART_STEPS!r} is {part_steps}; a part holds at least one time step")
    timeouts = [min(parameters["timeout"], _LONGEST_US) / 1e6] if parameters.get("timeout") else []
    timeouts += [] if timeout_s is None else [timeout_s]
    return Request(
        model,
        asked.inputs,
        version,
        tuple(each.name for each in asked.outputs),
        asked.id,
        _session(parameters.get("sequence_id", "")),
        parameters.get("sequence_start", False),
        parameters.get("sequence_end", False),
        min(timeouts, default=None),
        part_steps,
    )


@contextmanager
def named(model: str, request_id: str = "") -> Iterator[None]:
    """Let what the block refuses say of which model's request it speaks, and of which by its caller's own id."""
    try:
        yield
    except UnknownName:
        raise
    except UserError as error:
        if len(error.args) == 1:
            whose = f"request {request_id!r} to model {model!r}" if request_id else f"model {model!r}"
            error.args = (f"{whose}: {error}",)
        raise


def to_response(answer: Answer) -> InferResponse:
    """A whole answer as the protocol says it."""
    return InferResponse(answer.model, answer.outputs, answer.id, answer.version)


def to_part(answer: Answer) -> InferResponse:
    """One response of several: its parameters say which time steps it covers, and whether it is the last."""
    parameters = {"first_step": answer.first_step, "steps": answer.steps, FINAL: answer.last}
    return InferResponse(answer.model, answer.outputs, answer.id, answer.version, parameters)


def server_metadata() -> ServerMetadata:
    return ServerMetadata("synfire", __version__, EXTENSIONS)


def model_metadata(plane: DataPlane, model: Model) -> ModelMetadata:
    graph = model.route.graph
    return ModelMetadata(
        model.name,
        plane.versions(model.name),
        "synfire",
        [_tensor(name, signal, False) for name, signal in graph.inputs.items()],
        [_tensor(name, signal, True) for name, signal in graph.output_signals().items()],
    )


def model_description(plane: DataPlane, model: Model) -> ModelDescription:
    """The metadata, and what a caller needs to make requests of files, and words of answers."""
    about, graph = model_metadata(plane, model), flatten(model.route.graph)
    inputs = [TensorDescription(t.name, t.datatype, t.shape, _request(graph, t.name)) for t in about.inputs]
    told = {"labels": graph.metadata.get("labels"), "request": graph.metadata.get("input") if len(inputs) > 1 else None}
    parameters = {name: value for name, value in told.items() if value}
    return ModelDescription(about.name, about.versions, about.platform, inputs, about.outputs, parameters)


def model_config(plane: DataPlane, model: Model) -> ModelConfig:
    """Sizes as Triton has them: without the batch axis, −1 for what differs from request to request."""
    about = model_metadata(plane, model)
    inputs, outputs = ([_config(each) for each in tensors] for tensors in (about.inputs, about.outputs))
    ragged = any(each.shape[0] == 1 for each in about.inputs)
    batch = 1 if ragged else plane.limits.batch
    return ModelConfig(model.name, "synfire", "synfire", batch, inputs, outputs, {"decoupled": False})


def why_not_ready(plane: DataPlane, model: Model) -> str:
    """Why a model takes no calls now; empty when it does."""
    if plane.draining:
        return "the gateway is shutting down; call another one"
    if model.ready:
        return ""
    return (
        f"a worker of model {model.name!r} is gone or leaving, and nothing replaces it; start the deployment again with "
        "`synfire serve …`"
    )


def repository_index(plane: DataPlane, ready_only: bool) -> list[ModelIndex]:
    """What is served, and in which state."""
    states = [(model, why_not_ready(plane, model)) for model in plane.models]
    return [
        ModelIndex(model.name, model.version, "UNAVAILABLE" if reason else "READY", reason)
        for model, reason in states
        if not (reason and ready_only)
    ]


def refuse_repository_change(verb: str, name: str) -> NotSupported:
    """The error for the repository extension's load and unload."""
    return NotSupported(
        f"cannot {verb} model {name!r}: what this gateway serves was fixed when it started; start another with `synfire "
        "serve NAME…`"
    )


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


def _tensor(name: str, signal: Signal, output: bool) -> TensorMetadata:
    return TensorMetadata(name, datatype_of(signal.kind.dtype), caller_shape(signal, output))


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


def _config(tensor: TensorMetadata) -> ConfigTensor:
    kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return ConfigTensor(tensor.name, f"TYPE_{kind}", tensor.shape[1:])


def _checked(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in parameters.items():
        if name not in REQUEST_PARAMETERS:
            raise UserError(
                f"request parameter {name!r} has no effect here, so leave it out; those with one are {sorted(REQUEST_PARAMETERS)}"
            )
        wanted = REQUEST_PARAMETERS[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise UserError(f"request parameter {name!r} is {value!r}; it takes {_WORDS[wanted]}")
    return parameters


_WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", (int, str): "a whole number or a string"}


def _check_output(name: str, parameters: Mapping[str, Any]) -> None:
    unknown = sorted(set(parameters) - {"binary_data"})
    if unknown:
        raise NotSupported(f"output {name!r} asks for {unknown}, which is not offered; take the plain tensor instead")


def _session(name: int | str) -> str:
    """The session's name; 0 and the empty string mean none, as for Triton."""
    return str(name) if name else ""
