"""From what a user calls a model to its graph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synfire.base.errors import UnknownName, UserError
from synfire.chains import is_chain
from synfire.formats import load as load_file
from synfire.formats import options_of
from synfire.formats.bundle import stored_graph
from synfire.formats.gguf_parts import whole_name
from synfire.formats.python_function import check_no_code, divided
from synfire.graph import Graph
from synfire.store import BlobStore, Catalog, ModelName, ModelStore
from synfire.store.names import versioned
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

    `NAME=REFERENCE` gives it another name, `NAME@VERSION=REFERENCE` a version, too; a path then comes before a model of that name. Of `options` (`dt_s`, say) a file's format is given those that it has;
    `Model.read_with` tells which. Raises `UnknownName` when it is none of them, and what reading raises.
    """
    name, given, named = reference.rpartition("=")
    if given:
        called, versions, version = name.partition("@")
        found = _read(called, named, options or {}) if Path(named).exists() else find(named, options)
        return replace(found, name=_checked(called), version=_checked(version) if versions else found.version)
    if reference in shipped.names():
        return Model(reference, shipped.load(reference), "zoo")
    stored, weights = Catalog(), ModelStore()
    known = {entry.name for entry in stored.entries()} if stored.path.exists() else set()
    if reference.partition("@")[0] in known:
        entry = stored.find(reference)
        graph = stored_graph(entry.manifest, BlobStore())
        check_no_code(graph, reference)
        return Model(entry.name, graph, "imported", str(entry.version))
    tagged = weights.find(ModelName.parse(reference)) if ModelName.suits(reference) else None
    if tagged:
        graph, path, taken = read_stored(tagged, weights, options or {})
        return Model(tagged.name.short, graph, str(path), read_with=taken)
    if Path(reference).exists() or "/" in reference or Path(reference).suffix:
        return _read(_checked(_own_name(Path(reference).resolve())), reference, options or {})
    names = {*shipped.names(), *known, *(each.name.short for each in weights.names())}
    raise UnknownName.among("model, bundle folder or file", reference, names)


def told_apart(models: Sequence[Model]) -> list[Model]:
    """The models, of which those that are versions of one name are called `name@version`. Raises `UserError` for two that are the same
    version of it."""
    names = Counter(each.name for each in models)
    found = [
        replace(each, name=versioned(each.name, each.version)) if names[each.name] > 1 else each for each in models
    ]
    twice = [name for name, count in Counter(each.name for each in found).items() if count > 1]
    if twice:
        name, _, version = twice[0].partition("@")
        raise UserError(
            f"two models are called {name}, version {version}; give one of them another name with NAME=MODEL, or another version with "
            "NAME@VERSION=MODEL"
        )
    return found


def _read(name: str, path: str, options: Mapping[str, Any]) -> Model:
    if is_chain(path):
        raise UserError(
            f"{path} is a chain of models, and no model by itself; `synfire serve` and `synfire show` take it"
        )
    taken = {key: value for key, value in options.items() if key in options_of(path)}
    return Model(name, load_file(path, **taken), path, read_with=taken)


def _own_name(place: Path) -> str:
    """What a model is called that has no other name: as its folder, its file, or the function in it that is meant."""
    if place.is_dir():
        return place.name
    return divided(place)[1] or Path(whole_name(place.name)).stem


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} is no model name; use letters, digits, '.', '_' and '-', or write NAME=PATH")
    return name
