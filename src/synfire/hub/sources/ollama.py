"""An Ollama store on this machine's disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.hub.source import SOURCES, Into, Source
from synfire.store import ModelName
from synfire.store.files import explained
from synfire.store.incoming import WrongDigest, put_file
from synfire.store.layers import LARGEST_MANIFEST, Layer, decode_manifest

_PREFIX = "ollama://"
_HOST, _NAMESPACE = "registry.ollama.ai", "library"
_LIST = "application/vnd.ollama.manifest.list.v2+json"
_RUNNERS = ("ollama", "llamacpp")


class OllamaSource(Source):
    """`ollama://NAME[:TAG]` in the store that `OLLAMA_MODELS` names, by default `~/.ollama/models`. Nothing there is changed."""

    name = "ollama"
    looks_like = "ollama://NAME[:TAG]"

    def recognises(self, text: str) -> bool:
        return text.startswith(_PREFIX)

    def canonical(self, text: str) -> str:
        return f"{_PREFIX}{_named(text)}"

    def called(self, text: str) -> ModelName:
        return _named(text)

    def fetch(self, text: str, into: Into) -> bytes:
        root, content = _root(), _manifest(_root(), _named(text))
        manifest = decode_manifest(content, f"the manifest of {_named(text)} in {root}")
        for layer in manifest.blobs:
            _copy(root, layer, into)
        return content


def _named(text: str) -> ModelName:
    name = ModelName.parse(text.removeprefix(_PREFIX))
    return ModelName(name.name.removeprefix(f"{_HOST}/").removeprefix(f"{_NAMESPACE}/"), name.tag)


def _root() -> Path:
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def _manifest(root: Path, name: ModelName) -> bytes:
    parts = name.name.split("/")
    whole = {1: [_HOST, _NAMESPACE], 2: [_HOST]}.get(len(parts), []) + parts
    file = root.joinpath("manifests", *whole, name.tag)
    if not file.is_file():
        known = [
            _short(each.relative_to(root / "manifests"))
            for each in (root / "manifests").glob("*/*/*/*")
            if each.is_file()
        ]
        raise UnknownName(
            f"there is no model {name} in the Ollama store {root} (OLLAMA_MODELS names another); known: {', '.join(sorted(known)) or 'none'}"
        )
    return _runnable(root, _read(file), file)


def _short(path: Path) -> str:
    host, namespace, name, tag = path.parts
    start = "" if host == _HOST else f"{host}/"
    return f"{start}{'' if namespace == _NAMESPACE else f'{namespace}/'}{name}:{tag}"


def _runnable(root: Path, content: bytes, file: Path) -> bytes:
    """The manifest; of a list of manifests, the one for llama.cpp."""
    try:
        head = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file} is no manifest: {error}; pull the model again with Ollama") from error
    if head.get("mediaType") != _LIST:
        return content
    for each in head.get("manifests", []):
        if isinstance(each, Mapping) and each.get("runner") in _RUNNERS:
            return (
                msgspec.json.encode(each)
                if each.get("layers")
                else _read(_blob(root, str(each.get("digest", "")), file))
            )
    raise UserError(f"{file} lists no model that llama.cpp runs; pull another one")


def _blob(root: Path, digest: str, file: Path) -> Path:
    hexadecimal = digest.removeprefix("sha256:")
    if len(hexadecimal) != 64 or not set(hexadecimal) <= set("0123456789abcdef"):
        raise UserError(f"{file} names {digest!r}, which is no digest; pull the model again with Ollama")
    return root / "blobs" / f"sha256-{hexadecimal}"


def _read(file: Path) -> bytes:
    with explained(file, "read"), file.open("rb") as content:
        return content.read(LARGEST_MANIFEST + 1)


def _copy(root: Path, layer: Layer, into: Into) -> None:
    if into.store.has(layer):
        return
    file = _blob(root, layer.digest, root)
    into.watcher.begin(layer.media_type.rpartition(".")[2], layer.size)
    try:
        found = put_file(into.store.blobs, file, into.watcher.advance)
    finally:
        into.watcher.end()
    if found != layer.sha256:
        into.store.blobs.delete(found)
        raise WrongDigest(f"{file} is damaged: its digest is {found[:12]}…; pull the model again with Ollama")


SOURCES.add(OllamaSource.name, OllamaSource())
