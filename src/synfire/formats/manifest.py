"""A graph as a manifest and named tensors: the readable half of a bundle, and what the store keeps."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from synfire.base.errors import UserError
from synfire.graph import Graph, Synapse
from synfire.ops import OPERATORS, Array, Clock, Kind, Operator, Signal

FORMAT = "synfire-bundle"
VERSION = 1


class TensorRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stored tensor; `sha256` is over its bytes, little-endian in C order."""

    sha256: str
    dtype: str
    shape: tuple[int, ...]


class TensorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The safetensors file that holds them all."""

    bytes: int
    sha256: str


class SignalRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shape: tuple[int, ...]
    kind: Kind
    clock: Clock


class SynapseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    source: str
    target: str
    port: int = 0
    delay_steps: int = 0


class OperatorRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`attributes` are structure, `scalars` float32 parameters, `tensors` maps a field to the name of a tensor.

    A nested graph has `graph` instead of `kind`.
    """

    kind: str = ""
    attributes: dict[str, Any] = {}
    scalars: dict[str, float] = {}
    tensors: dict[str, str] = {}
    graph: GraphRecord | None = None


class GraphRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: dict[str, SignalRecord]
    operators: dict[str, OperatorRecord]
    synapses: list[SynapseRecord]
    outputs: dict[str, str]
    metadata: dict[str, Any]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`digests` holds a SHA-256 for each of the other sections, so that damage can be told by place."""

    format: str
    version: int
    digests: dict[str, str]
    graph: GraphRecord
    tensors: dict[str, TensorRecord]
    tensor_file: TensorFile


def manifest_of(graph: Graph, tensor_file: Callable[[dict[str, Array]], bytes]) -> tuple[Manifest, bytes]:
    """The manifest of `graph` and its tensor file, made by `tensor_file` from the tensors by name."""
    tensors: dict[str, Array] = {}
    record = _graph_record(graph, "", _Tensors(tensors))
    content = tensor_file(tensors)
    records = {
        name: TensorRecord(tensor_digest(array), array.dtype.name, array.shape) for name, array in tensors.items()
    }
    file = TensorFile(len(content), hashlib.sha256(content).hexdigest())
    manifest = Manifest(FORMAT, VERSION, {}, record, records, file)
    return msgspec.structs.replace(manifest, digests=_digests(manifest)), content


def encode(manifest: Manifest) -> bytes:
    """The one way to write this manifest: a line for every input, operator, synapse and tensor."""
    return (_lines(msgspec.to_builtins(manifest), 3) + "\n").encode()


def decode(content: bytes, where: str) -> Manifest:
    """Read and verify a manifest. Raises `UserError`, naming `where` and the field or section at fault."""
    try:
        head = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"{where} is not JSON ({error}); {_CURE}") from error
    _check_head(head, where)
    try:
        manifest = msgspec.convert(head, Manifest)
    except (msgspec.ValidationError, RecursionError) as error:
        raise UserError(f"{where} does not follow version {VERSION} of the bundle schema: {error}; {_CURE}") from error
    found = _digests(manifest)
    damaged = [name for name in {**found, **manifest.digests} if found.get(name) != manifest.digests.get(name)]
    if damaged:
        raise UserError(
            f"{where} is not what was written: section {', '.join(damaged)} does not match its digest; {_CURE}"
        )
    if encode(manifest) != content:
        raise UserError(f"{where} is not what was written: its layout or an ignored character changed; {_CURE}")
    return manifest


def graph_of(manifest: Manifest, tensors: Mapping[str, Array], where: str) -> Graph:
    """The graph again. Raises `UserError` for an unknown kind or field, or a graph that breaks a rule of its own."""
    return _graph(manifest.graph, tensors, where, "")


def tensor_digest(array: Array) -> str:
    """SHA-256 over the bytes that are stored of the array."""
    return hashlib.sha256(as_stored(array).tobytes()).hexdigest()


def as_stored(array: Array) -> Array:
    """The array as it is stored: little-endian, in C order, whole numbers in the narrowest format that holds them."""
    if array.dtype.kind in "iu" and array.size:
        narrow = np.promote_types(np.min_scalar_type(array.min()), np.min_scalar_type(array.max()))
        array = array.astype(narrow) if narrow.kind in "iu" else array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def is_scalar(array: Array) -> bool:
    """Whether a parameter is a number that the manifest itself holds, and no tensor."""
    return array.shape == () and array.dtype == np.float32


_CURE = "it was damaged or edited: restore the file, or write the bundle again (synfire import)"


class _Tensors:
    """Names tensors by their first place of use and keeps equal ones once."""

    def __init__(self, found: dict[str, Array]) -> None:
        self._found = found
        self._names: dict[tuple[str, str, tuple[int, ...]], str] = {}

    def name(self, wanted: str, array: Array) -> str:
        array = as_stored(array)
        key = (tensor_digest(array), array.dtype.name, array.shape)
        if key not in self._names:
            self._names[key] = wanted
            self._found[wanted] = array
        return self._names[key]


def _graph_record(graph: Graph, path: str, tensors: _Tensors) -> GraphRecord:
    return GraphRecord(
        {name: SignalRecord(s.shape, s.kind, s.clock) for name, s in graph.inputs.items()},
        {name: _operator_record(each, f"{path}{name}", tensors) for name, each in graph.operators.items()},
        [SynapseRecord(s.source, s.target, s.port, s.delay_steps) for s in graph.synapses],
        dict(graph.outputs),
        _plain(dict(graph.metadata), f"{path}metadata"),
    )


def _operator_record(each: Operator | Graph, name: str, tensors: _Tensors) -> OperatorRecord:
    if isinstance(each, Graph):
        return OperatorRecord(graph=_graph_record(each, f"{name}.", tensors))
    scalars: dict[str, float] = {}
    arrays: dict[str, str] = {}
    for field, array in each.parameters().items():
        if is_scalar(array):
            scalars[field] = float(array)
        else:
            arrays[field] = tensors.name(f"{name}/{field}", array)
    attributes = _plain(each.attributes(), f"{name}.attributes")
    return OperatorRecord(each.kind, attributes, _plain(scalars, name), arrays)


def _graph(record: GraphRecord, tensors: Mapping[str, Array], where: str, path: str) -> Graph:
    operators = {name: _operator(each, tensors, where, f"{path}{name}") for name, each in record.operators.items()}
    try:
        return Graph(
            operators,
            tuple(Synapse(s.source, s.target, s.port, s.delay_steps) for s in record.synapses),
            {name: Signal(s.shape, s.kind, s.clock) for name, s in record.inputs.items()},
            record.outputs,
            record.metadata,
        )
    except UserError as error:
        raise UserError(f"{where}{f', nested graph {path[:-1]!r}' if path else ''}: {error}") from error


def _operator(record: OperatorRecord, tensors: Mapping[str, Array], where: str, name: str) -> Operator | Graph:
    if record.graph is not None:
        return _graph(record.graph, tensors, where, f"{name}.")
    parameters = {field: np.float32(value) for field, value in record.scalars.items()}
    missing = [tensor for tensor in record.tensors.values() if tensor not in tensors]
    if missing:
        raise UserError(f"{where}: operator {name!r} refers to the missing tensor {missing[0]!r}; {_CURE}")
    arrays = {field: tensors[tensor] for field, tensor in record.tensors.items()}
    attributes = {field: _tuples(value) for field, value in record.attributes.items()}
    try:
        return OPERATORS[record.kind].build(attributes, {**{k: np.asarray(v) for k, v in parameters.items()}, **arrays})
    except UserError as error:
        raise UserError(f"{where}: operator {name!r}: {error}") from error


def _check_head(head: Any, where: str) -> None:
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UserError(f"{where} is no synfire bundle: its field 'format' is not {FORMAT!r}; {_CURE}")
    if head.get("version") != VERSION:
        raise UserError(
            f"{where} has schema version {head.get('version')!r}, and this synfire reads version {VERSION}; "
            "install the synfire that wrote it, or import the model again"
        )


def _digests(manifest: Manifest) -> dict[str, str]:
    graph = msgspec.to_builtins(manifest.graph)
    sections = {f"graph.{name}": value for name, value in graph.items()}
    sections["tensors"] = msgspec.to_builtins(manifest.tensors)
    sections["tensor_file"] = msgspec.to_builtins(manifest.tensor_file)
    return {name: hashlib.sha256(_compact(value).encode()).hexdigest() for name, value in sections.items()}


def _plain(value: Any, where: str) -> Any:
    """`value` as JSON has it. Raises `UserError` for anything that JSON cannot hold exactly."""
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{where}[{i}]") for i, each in enumerate(value)]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UserError(
        f"{where} is {value!r} of type {type(value).__name__}, which a bundle cannot hold; use finite numbers, text, lists and dictionaries"
    )


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise UserError(f"{where} has the key {key!r} of type {type(key).__name__}; keys must be text")
    return key


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)


def _lines(value: Any, depth: int, indent: str = "") -> str:
    """JSON with one line for everything that lies `depth` levels deep."""
    inner = indent + "  "
    if depth and value and isinstance(value, dict):
        parts = [f"{inner}{_compact(key)}: {_lines(each, depth - 1, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if depth and value and isinstance(value, list):
        return "[\n" + ",\n".join(inner + _lines(each, depth - 1, inner) for each in value) + f"\n{indent}]"
    return _compact(value)
