"""From what a user calls a model to its graph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import UnknownName, UserError
from synfire.formats import load as load_file
from synfire.formats.bundle import stored_graph
from synfire.graph import Graph
from synfire.store import BlobStore, Catalog
from synfire.zoo import shipped


@dataclass(frozen=True)
class Model:
    """A graph and the name and version that it is served under. `source` says where it came from."""

    name: str
    graph: Graph
    source: str
    version: str = "1"


def find(reference: str) -> Model:
    """The model that `reference` names: a zoo model, an imported one (`name` or `name@n`), a bundle folder, or a file.

    `NAME=PATH` serves a path under another name. Raises `UnknownName` when it is none of them, and what reading raises.
    """
    name, given, path = reference.rpartition("=")
    if given:
        return Model(_checked(name), load_file(path), path)
    if reference in shipped.names():
        return Model(reference, shipped.load(reference), "zoo")
    stored = Catalog()
    known = {entry.name for entry in stored.entries()} if stored.path.exists() else set()
    if reference.partition("@")[0] in known:
        entry = stored.find(reference)
        return Model(entry.name, stored_graph(entry.manifest, BlobStore()), "imported", str(entry.version))
    if Path(reference).exists() or "/" in reference or Path(reference).suffix:
        return Model(_checked(Path(reference).resolve().stem), load_file(reference), reference)
    raise UnknownName.among("model, bundle folder or file", reference, {*shipped.names(), *known})


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} is no model name; use letters, digits, '.', '_' and '-', or write NAME=PATH")
    return name
