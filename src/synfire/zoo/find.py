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
from synfire.formats.gguf_parts import whole_name
from synfire.graph import Graph
from synfire.store import BlobStore, Catalog, ModelName, ModelStore
from synfire.zoo import shipped
from synfire.zoo.stored import read_stored


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
        graph, path, taken = read_stored(tagged, weights, options or {})
        return Model(tagged.name.short, graph, str(path), read_with=taken)
    if Path(reference).exists() or "/" in reference or Path(reference).suffix:
        place = Path(reference).resolve()
        return _read(
            _checked(place.name if place.is_dir() else Path(whole_name(place.name)).stem), reference, options or {}
        )
    names = {*shipped.names(), *known, *(each.name.short for each in weights.names())}
    raise UnknownName.among("model, bundle folder or file", reference, names)


def _read(name: str, path: str, options: Mapping[str, Any]) -> Model:
    taken = {key: value for key, value in options.items() if key in options_of(path)}
    return Model(name, load_file(path, **taken), path, read_with=taken)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} is no model name; use letters, digits, '.', '_' and '-', or write NAME=PATH")
    return name
