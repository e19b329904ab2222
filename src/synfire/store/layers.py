"""What a named model is made of: a manifest of layers, each a blob with a media type, in the form that Ollama and container registries use."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from synfire.base.errors import UserError

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"

GGUF = "application/vnd.ollama.image.model"
"""Weights in one GGUF file."""
GGUF_ADAPTER = "application/vnd.ollama.image.adapter"
"""A LoRA adapter in one GGUF file."""
PROJECTOR = "application/vnd.ollama.image.projector"
TEMPLATE = "application/vnd.ollama.image.template"
"""A prompt template in Go's template language, from a Modelfile."""
SYSTEM = "application/vnd.ollama.image.system"
PARAMS = "application/vnd.ollama.image.params"
"""A JSON object of parameters, from a Modelfile."""
MESSAGES = "application/vnd.ollama.image.messages"
LICENSE = "application/vnd.ollama.image.license"

SAFETENSORS = "application/vnd.synfire.model.safetensors"
"""A file of weights of a Hugging Face directory; `name` is its path in there, as for the three that follow."""
MODEL_FILE = "application/vnd.synfire.model.file"
"""Any other file of that directory: config.json, the tokenizer, a chat template."""
ADAPTER_SAFETENSORS = "application/vnd.synfire.adapter.safetensors"
ADAPTER_FILE = "application/vnd.synfire.adapter.file"

ONNX = "application/vnd.synfire.model.onnx"
"""An ONNX file, or a file with weights of one; `name` is what it is called there, and the model comes first."""

WEIGHTS = (GGUF, SAFETENSORS)
"""Of language models."""
ADAPTERS = (GGUF_ADAPTER, ADAPTER_SAFETENSORS)

MOST_LAYERS = 4096
LARGEST_MANIFEST = 4 * 2**20

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")


class Layer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One blob of a model: its kind, `sha256:…` digest and bytes; `name` is its path where it is a file of a directory."""

    media_type: str
    digest: str
    size: int
    name: str = ""

    @property
    def sha256(self) -> str:
        """The digest as the blob store names it."""
        return self.digest.removeprefix("sha256:")


class ModelManifest(msgspec.Struct, frozen=True, rename="camel"):
    """The layers of one model. Its digest is over the bytes it was written in, which are kept as they are."""

    schema_version: int
    media_type: str
    config: Layer
    layers: tuple[Layer, ...]

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Config and layers, each digest once."""
        return tuple({layer.digest: layer for layer in (self.config, *self.layers)}.values())

    @property
    def size(self) -> int:
        """Bytes of all blobs, each once."""
        return sum(layer.size for layer in self.blobs)

    def of(self, *media_types: str) -> tuple[Layer, ...]:
        """The layers of these kinds, in the manifest's order."""
        return tuple(layer for layer in self.layers if layer.media_type in media_types)


def manifest_of(config: Layer, layers: Iterable[Layer]) -> ModelManifest:
    """The manifest of these layers."""
    return ModelManifest(2, MANIFEST, config, tuple(layers))


def encode_manifest(manifest: ModelManifest) -> bytes:
    """The manifest as JSON."""
    return msgspec.json.encode(manifest)


def decode_manifest(content: bytes, where: str) -> ModelManifest:
    """Read and check a manifest, also one that Ollama wrote. Raises `UserError`, naming `where` and what is wrong."""
    if len(content) > LARGEST_MANIFEST:
        raise UserError(
            f"{where} is {len(content)} bytes long, and no manifest is longer than {LARGEST_MANIFEST}; {_CURE}"
        )
    try:
        manifest = msgspec.json.decode(content, type=ModelManifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{where} is no model manifest: {error}; {_CURE}") from error
    if manifest.schema_version != 2 or len(manifest.layers) > MOST_LAYERS:
        raise UserError(
            f"{where} has schema version {manifest.schema_version} and {len(manifest.layers)} layers; "
            f"version 2 with at most {MOST_LAYERS} is read: {_CURE}"
        )
    for layer in (manifest.config, *manifest.layers):
        _check(layer, where)
    return manifest


def layer_of(media_type: str, content: bytes, name: str = "") -> Layer:
    """The layer that has this content."""
    return Layer(media_type, "sha256:" + hashlib.sha256(content).hexdigest(), len(content), name)


def checked_file_name(name: str, where: str) -> str:
    """`name` where it is a path that stays in its folder: `config.json`, `1_Pooling/config.json`. Raises `UserError`."""
    parts = name.split("/")
    if len(parts) > 8 or any(part in (".", "..") or not _NAME.fullmatch(part) for part in parts):
        raise UserError(f"{where} names the file {name!r}, which does not stay in its folder; {_CURE}")
    return name


def _check(layer: Layer, where: str) -> None:
    if not _DIGEST.fullmatch(layer.digest):
        raise UserError(
            f"{where} has a layer of digest {layer.digest!r}; one is sha256: and 64 hexadecimal digits: {_CURE}"
        )
    if layer.size < 0:
        raise UserError(f"{where} has a layer of {layer.size} bytes; {_CURE}")
    if layer.name:
        checked_file_name(layer.name, where)


_CURE = "get the model again from where it came from"
