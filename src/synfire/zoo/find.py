"""From what a user calls a model to its graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synfire.base.errors import UnknownName, UserError
from synfire.formats import load as load_file
from synfire.formats import options_of
from synfire.formats.bundle import stored_graph
from synfire.graph import Graph
from synfire.store import BlobStore, Catalog, ModelName, ModelStore, Tagged
from synfire.store.layers import GGUF
from synfire.zoo import shipped


@dataclass(frozen=True)
class Model:
    """A graph and the name and version that it is served under.

    `source` says where it came from, `read_with` the options that its file's format took.
    """

    name: str
    graph: Graph
    source: str
    version: str = "1"
    read_with: Mapping[str, Any] = field(default_factory=dict)


def find(reference: str, options: Mapping[str, Any] | None = None) -> Model:
    """The model that `reference` names: a zoo model, an imported one (`name` or `name@n`), weights in the store (`name` or `name:tag`), a bundle folder, or a file.

    `NAME=REFERENCE` gives it another name; a path then comes before a model of that name. Of `options` (`dt_s`, say) a file's format is given those that it has;
    `Model.read_with` tells which. Raises `UnknownName` when it is none of them, and what reading raises.
    """
    name, given, named = reference.rpartition("=")
    if given and Path(named).exists():
        return _read(_checked(name), named, options or {})
    if given:
        return replace(find(named, options), name=_checked(name))
    if reference in shipped.names():
        return Model(reference, shipped.load(reference), "zoo")
    stored, weights = Catalog(), ModelStore()
    known = {entry.name for entry in stored.entries()} if stored.path.exists() else set()
    if reference.partition("@")[0] in known:
        entry = stored.find(reference)
        return Model(entry.name, stored_graph(entry.manifest, BlobStore()), "imported", str(entry.version))
    tagged = weights.find(ModelName.parse(reference)) if ModelName.suits(reference) else None
    if tagged:
        return _read(tagged.name.short, str(_weights(tagged, weights)), options or {})
    if Path(reference).exists() or "/" in reference or Path(reference).suffix:
        return _read(_checked(Path(reference).resolve().stem), reference, options or {})
    names = {*shipped.names(), *known, *(each.name.short for each in weights.names())}
    raise UnknownName.among("model, bundle folder or file", reference, names)


def _weights(model: Tagged, store: ModelStore) -> Path:
    """The file of weights of a stored model that has nothing else. Raises `UserError` for one that has, so that nothing of a model is
    left out unsaid, and for one whose file is gone."""
    manifest = store.manifest(model.manifest)
    files = manifest.of(GGUF)
    if len(files) != 1:
        raise UserError(
            f"{model.name} has no GGUF file, and models of other files are not served by name; serve its directory"
        )
    path = store.blobs.path(files[0].sha256)
    more = sorted({layer.media_type.rpartition(".")[2] for layer in manifest.layers} - {"model", "license"})
    if more:
        raise UserError(
            f"{model.name} has {', '.join(more)} beside its weights, which are not served with them; serve the weights alone: {model.name.name}={path}"
        )
    if not store.has(files[0]):
        raise UserError(
            f"the weights of {model.name} are gone from the store, or cut off; get them again: synfire pull {model.name}"
        )
    return path


def _read(name: str, path: str, options: Mapping[str, Any]) -> Model:
    taken = {key: value for key, value in options.items() if key in options_of(path)}
    return Model(name, load_file(path, **taken), path, read_with=taken)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} is no model name; use letters, digits, '.', '_' and '-', or write NAME=PATH")
    return name
