"""The shipped bundles, by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synfire.base.errors import UnknownName
from synfire.formats import read_bundle
from synfire.graph import Graph

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The shipped models, in alphabetical order: `family-data`."""
    return tuple(sorted(folder.name for folder in FOLDER.iterdir() if (folder / "graph.json").is_file()))


def load(name: str) -> Graph:
    """A shipped model, verified. Raises `UnknownName`, and what `read_bundle` raises for damaged files."""
    return read_bundle(_folder(name))


def card(name: str) -> Mapping[str, Any]:
    """The model card of a shipped model: family, data, accuracy, training; empty where none is shipped."""
    file = _folder(name) / "card.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _folder(name: str) -> Path:
    if name not in names():
        raise UnknownName.among("zoo model", name, names())
    return FOLDER / name
