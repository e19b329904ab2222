"""A model of weights in the store as a graph: its weights and adapters, and what its Modelfile says beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.formats import load, options_of
from synfire.formats.huggingface_model import ADAPTER
from synfire.formats.weights import gathered
from synfire.graph import Graph
from synfire.ops.language_model import LanguageModel
from synfire.store import Layer, ModelManifest, ModelStore, Tagged
from synfire.store.layers import (
    ADAPTER_FILE,
    ADAPTER_SAFETENSORS,
    GGUF,
    GGUF_ADAPTER,
    MESSAGES,
    MODEL_FILE,
    ONNX,
    PARAMS,
    SAFETENSORS,
    SYSTEM,
    TEMPLATE,
)

CONTEXT = "num_ctx"
"""The parameter of a Modelfile that is decided when a model is loaded: how many tokens an answer and its prompt may have."""


def read_stored(model: Tagged, store: ModelStore, options: Mapping[str, Any]) -> tuple[Graph, Path, dict[str, Any]]:
    """The graph of a stored model, the path of its weights, and the options that reading them took.

    What the Modelfile says is in the graph's metadata: `template`, `system`, `params` and `messages` of `language`. Raises `UserError`
    for weights that are gone, for an adapter alone, and for parts that nothing here serves.
    """
    manifest = store.manifest(model.manifest)
    _check(model, manifest, store)
    if manifest.of(ONNX):
        _check_plain(model, manifest)
        path = _onnx(manifest)
        return load(str(path)), path, {}
    path = _weights(manifest, store)
    params = _json(manifest, store, PARAMS, dict[str, Any]) or {}
    wanted = {**({"context": params[CONTEXT]} if CONTEXT in params else {}), **options}
    taken = {key: value for key, value in wanted.items() if key in options_of(str(path))}
    graph = _adapted(load(str(path), **taken), manifest, store)
    return _told(graph, manifest, store, params), path, taken


def _check(model: Tagged, manifest: ModelManifest, store: ModelStore) -> None:
    known = (GGUF, GGUF_ADAPTER, SAFETENSORS, MODEL_FILE, ONNX, TEMPLATE, SYSTEM, PARAMS, MESSAGES)
    others = {each.media_type.rpartition(".")[2] for each in manifest.layers if each.media_type not in known}
    if others - {"license"}:
        adapter = bool(manifest.of(ADAPTER_SAFETENSORS, ADAPTER_FILE))
        raise UserError(
            f"{model.name} has {', '.join(sorted(others - {'license'}))} beside its weights, which is not served with them"
            + ("; convert the adapter to GGUF, or serve its directory" if adapter else "; leave it out of the model")
        )
    if not manifest.of(GGUF, SAFETENSORS, ONNX):
        raise UserError(f"{model.name} is an adapter and no model; name it in a Modelfile: FROM a model, ADAPTER this")
    for layer in manifest.blobs:
        if not store.has(layer):
            raise UserError(
                f"the weights of {model.name} are gone from the store, or cut off: {layer.digest[:19]}… ({layer.media_type}); get them "
                f"again: synfire pull {model.name}"
            )


def _weights(manifest: ModelManifest, store: ModelStore) -> Path:
    """The GGUF file, or a directory in which the files have their names."""
    files = manifest.of(GGUF)
    if files:
        return store.blobs.path(files[0].sha256)
    return gathered([(each.name, each.sha256) for each in manifest.of(SAFETENSORS, MODEL_FILE)])


def _check_plain(model: Tagged, manifest: ModelManifest) -> None:
    """Raise `UserError` where a Modelfile says more of an ONNX model than it can follow."""
    said = [each.media_type.rpartition(".")[2] for each in manifest.of(TEMPLATE, SYSTEM, PARAMS, MESSAGES)]
    if said:
        raise UserError(
            f"{model.name} is an ONNX model, which reads no chats, and its Modelfile has {', '.join(said)}; make it again with FROM alone"
        )


def _onnx(manifest: ModelManifest) -> Path:
    """The ONNX file, with the files of its weights beside it."""
    files = [(each.name, each.sha256) for each in manifest.of(ONNX)]
    return gathered(files) / files[0][0]


def _adapted(graph: Graph, manifest: ModelManifest, store: ModelStore) -> Graph:
    """The graph whose language model has the adapters, too."""
    adapters = manifest.of(GGUF_ADAPTER)
    if not adapters:
        return graph
    ((name, model),) = graph.operators.items()
    if not isinstance(model, LanguageModel):
        raise UserError("an adapter belongs to a language model alone; leave it out")
    weights = (*model.weights, *((f"{ADAPTER}{number}.gguf", each.sha256) for number, each in enumerate(adapters)))
    size = model.weight_bytes + sum(each.size for each in adapters)
    adapted = replace(model, weights=weights, weight_bytes=size)
    return Graph({name: adapted}, graph.synapses, graph.inputs, graph.outputs, graph.metadata)


def _told(graph: Graph, manifest: ModelManifest, store: ModelStore, params: Mapping[str, Any]) -> Graph:
    """The graph that tells what the Modelfile says."""
    more = {
        "template": _text(manifest, store, TEMPLATE),
        "system": _text(manifest, store, SYSTEM),
        "params": {key: value for key, value in params.items() if key != CONTEXT},
        "messages": _json(manifest, store, MESSAGES, list[dict[str, str]]),
    }
    given = {key: value for key, value in more.items() if value}
    language = {**graph.metadata.get("language", {}), **given}
    return Graph(graph.operators, graph.synapses, graph.inputs, graph.outputs, {**graph.metadata, "language": language})


def _text(manifest: ModelManifest, store: ModelStore, media_type: str) -> str | None:
    layer = _only(manifest, media_type)
    return None if layer is None else store.blobs.get(layer.sha256).decode(errors="replace")


def _json(manifest: ModelManifest, store: ModelStore, media_type: str, wanted: Any) -> Any:
    layer = _only(manifest, media_type)
    if layer is None:
        return None
    try:
        return msgspec.json.decode(store.blobs.get(layer.sha256), type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"the layer {media_type} of a stored model is damaged: {error}; pull the model again"
        ) from error


def _only(manifest: ModelManifest, media_type: str) -> Layer | None:
    found = manifest.of(media_type)
    return found[-1] if found else None
