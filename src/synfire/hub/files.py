"""From what a user calls a model of weights to its files: `resolve`."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from synfire.base import paths
from synfire.base.errors import UnknownName, UserError
from synfire.formats.gguf import is_gguf, read_gguf
from synfire.formats.huggingface import is_folder, read_folder
from synfire.formats.weights import digest_of
from synfire.hub.pieces import Described, Piece, described_config, pieces
from synfire.store import Layer, ModelManifest, ModelName, ModelStore
from synfire.store.files import explained
from synfire.store.incoming import file_digest
from synfire.store.layers import (
    ADAPTER_FILE,
    ADAPTER_SAFETENSORS,
    CONFIG,
    GGUF,
    GGUF_ADAPTER,
    LICENSE,
    MESSAGES,
    MODEL_FILE,
    ONNX,
    PARAMS,
    SAFETENSORS,
    SYSTEM,
    TEMPLATE,
    encode_manifest,
    layer_of,
    manifest_of,
)


class Message(msgspec.Struct, frozen=True):
    """A turn that a conversation with the model begins with."""

    role: str
    content: str


@dataclass(frozen=True)
class ModelFiles:
    """A model's manifest, and where the files of its layers are.

    `name` is `name:tag`, or for a path its stem; `digest` the manifest's, which names this very model whatever it is called.
    `paths` has the files by media type (`synfire.store.layers`), in the manifest's order.
    """

    name: str
    digest: str
    manifest: ModelManifest
    paths: Mapping[str, tuple[Path, ...]]
    described: Described
    """Architecture, size, precision and context, for people and for planning."""
    origin: Path | None = None
    """The file or directory itself, where the model is none of the store."""

    @property
    def is_gguf(self) -> bool:
        """Whether its weights are one GGUF file; a Hugging Face directory otherwise."""
        return bool(self.paths.get(GGUF) or self.paths.get(GGUF_ADAPTER)) and not self.paths.get(SAFETENSORS)

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter alone, which needs a model to be served with."""
        return not any(self.paths.get(each) for each in (GGUF, SAFETENSORS, ONNX))

    @property
    def weights(self) -> Path:
        """What an engine opens: a GGUF or ONNX file, or a directory with the names that Hugging Face's tools expect.

        Raises `UserError` for an adapter alone.
        """
        if self.is_adapter:
            raise UserError(
                f"{self.name} is an adapter and no model; name it in a Modelfile: FROM a model, ADAPTER this"
            )
        if self.paths.get(GGUF):
            return self.paths[GGUF][0]
        if self.paths.get(ONNX):
            return self.origin or _folder(self, ONNX) / self.manifest.of(ONNX)[0].name
        return self.origin or _folder(self, SAFETENSORS, MODEL_FILE)

    @property
    def adapters(self) -> tuple[Path, ...]:
        """LoRA adapters that go with it: GGUF files, or a PEFT directory."""
        found = self.paths.get(GGUF_ADAPTER, ())
        if self.paths.get(ADAPTER_SAFETENSORS):
            found += (self.origin or _folder(self, ADAPTER_SAFETENSORS, ADAPTER_FILE),)
        return found

    @property
    def template(self) -> str | None:
        """The prompt template of a Modelfile, in Go's template language; None where the model's own is meant."""
        return self._text(TEMPLATE)

    @property
    def chat_template(self) -> str | None:
        """The model's own template, in Jinja; None for a model without one."""
        if self.paths.get(ONNX):
            return None
        return read_gguf(self.weights).chat_template if self.is_gguf else read_folder(self.weights).chat_template

    @property
    def system(self) -> str | None:
        """What a Modelfile tells the model before every conversation."""
        return self._text(SYSTEM)

    @property
    def params(self) -> Mapping[str, Any]:
        """Parameters of a Modelfile: `{"temperature": 0.7, "stop": ["…"]}`. Raises `UserError` where they are damaged."""
        return self._json(PARAMS, dict[str, Any]) or {}

    @property
    def messages(self) -> tuple[Message, ...]:
        """Turns of a Modelfile. Raises `UserError` where they are damaged."""
        return self._json(MESSAGES, tuple[Message, ...]) or ()

    @property
    def licenses(self) -> tuple[str, ...]:
        """The texts of its licences."""
        return tuple(_read(file).decode(errors="replace") for file in self.paths.get(LICENSE, ()))

    def verify(self) -> None:
        """Read every byte. Raises `UserError`, naming the file, where one is not what the manifest says."""
        for media_type, files in self.paths.items():
            for layer, file in zip(self.manifest.of(media_type), files, strict=True):
                if file_digest(file) != layer.sha256:
                    raise UserError(
                        f"{file} of {self.name} is damaged: its digest is not {layer.digest[:19]}…; pull it again"
                    )

    def _text(self, media_type: str) -> str | None:
        files = self.paths.get(media_type)
        return _read(files[0]).decode(errors="surrogateescape") if files else None

    def _json(self, media_type: str, wanted: Any) -> Any:
        files = self.paths.get(media_type)
        if not files:
            return None
        try:
            return msgspec.json.decode(_read(files[0]), type=wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(
                f"the layer {media_type} of {self.name} is damaged: {error}; pull the model again"
            ) from error


def resolve(reference: str | os.PathLike[str], store: ModelStore | None = None) -> ModelFiles:
    """The model that `reference` names: one in the store (`name` or `name:tag`), a GGUF or ONNX file, or a Hugging Face directory.

    A name comes before a path, and `./NAME` is always a path. Files are looked at, not copied; a file's digest is computed once and
    remembered for as long as the file is as it was. Raises `UnknownName` when it is none of them, `UserError` for a file that is
    damaged and for a model some blob of which is gone.
    """
    store, text = store or ModelStore(), os.fspath(reference)
    if ModelName.suits(text) and store.find(ModelName.parse(text)):
        return stored(ModelName.parse(text), store)
    path = Path(text).expanduser()
    if path.exists():
        return _of_path(path)
    raise UnknownName.among("stored model, GGUF file or model directory", text, [each.name for each in store.names()])


def is_weights(reference: str, store: ModelStore | None = None) -> bool:
    """Whether `resolve` finds a model of weights by this reference: cheap, and no promise that it is whole."""
    if ModelName.suits(reference) and (store or ModelStore()).find(ModelName.parse(reference)):
        return True
    path = Path(reference).expanduser()
    return is_folder(path) or (path.is_file() and is_gguf(path))


def stored(name: ModelName, store: ModelStore) -> ModelFiles:
    """The files of a named model. Raises `UnknownName`, and `UserError` where a blob is gone."""
    entry = store.one(name)
    manifest = store.manifest(entry.manifest)
    missing = store.missing(manifest)
    if missing:
        raise UserError(
            f"{name} is not whole: the blob {missing[0].digest[:19]}… ({missing[0].media_type}) is gone or cut off; "
            f"get it again: synfire pull {entry.source}"
        )
    found: dict[str, tuple[Path, ...]] = {}
    for layer in manifest.layers:
        found[layer.media_type] = (*found.get(layer.media_type, ()), store.blobs.path(layer.sha256))
    return ModelFiles(
        str(name), entry.manifest, manifest, found, described_config(store.blobs.get(manifest.config.sha256))
    )


def _of_path(path: Path) -> ModelFiles:
    parts, described = pieces(path)
    manifest = manifest_of(layer_of(CONFIG, msgspec.json.encode(described)), [_layer(part) for part in parts])
    found: dict[str, tuple[Path, ...]] = {}
    for part in parts:
        found[part.media_type] = (*found.get(part.media_type, ()), part.path)
    digest = hashlib.sha256(encode_manifest(manifest)).hexdigest()
    place = path.resolve()
    return ModelFiles(place.name if path.is_dir() else place.stem, digest, manifest, found, described, path)


def _layer(part: Piece) -> Layer:
    with explained(part.path, "read"):
        size = part.path.stat().st_size
    return Layer(part.media_type, "sha256:" + digest_of(part.path), size, part.name)


def _folder(files: ModelFiles, *media_types: str) -> Path:
    """A directory in the cache with these layers' files under their names: links to the blobs, made once."""
    target = paths.cache() / "folders" / files.digest / media_types[0].rpartition(".")[0].rpartition(".")[2]
    if target.is_dir():
        return target
    with explained(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
        try:
            for media_type in media_types:
                for layer, file in zip(files.manifest.of(media_type), files.paths.get(media_type, ()), strict=True):
                    (fresh / layer.name).parent.mkdir(parents=True, exist_ok=True)
                    (fresh / layer.name).symlink_to(file.absolute())
            _rename(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def _rename(fresh: Path, target: Path) -> None:
    """Where another process was quicker, its folder holds the same."""
    try:
        fresh.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _read(file: Path) -> bytes:
    with explained(file, "read"):
        return file.read_bytes()
