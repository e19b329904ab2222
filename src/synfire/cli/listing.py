"""`synfire list`: the models at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.cli.output import AsJson, print_json, say, table
from synfire.formats.bundle import stored_graph
from synfire.graph import Graph, flatten
from synfire.hub.pieces import Described, described_config
from synfire.plan.costs import format_bytes
from synfire.store import BlobStore, Catalog, ModelStore, Tagged
from synfire.zoo import card, load, names


def list_models(as_json: AsJson = False) -> None:
    """List the models that are here by name: the zoo's, imported graphs, and models of weights with their adapters.

    \b
    Examples:
      synfire list
      synfire list --json
    """
    found = [*(_zoo(name) for name in names()), *_imported()]
    weights = _weights()
    if as_json:
        print_json({"models": [*found, *weights]})
        return
    _print_graphs(found)
    if weights:
        say("")
        _print_weights(weights)


def _print_graphs(found: Sequence[dict[str, Any]]) -> None:
    rows = [
        (
            each["name"], each["family"], each["data"],
            "" if each["accuracy"] is None else f"{each['accuracy']:.1%}",
            each["operators"], format_bytes(each["parameter_bytes"]), each["steps"] or "", each["source"],
        )
        for each in found
    ]  # fmt: skip
    columns = ("model", "family", "data", "-accuracy", "-operators", "-parameters", "-steps", "from")
    say(table("", columns, rows))


def _print_weights(found: Sequence[dict[str, Any]]) -> None:
    rows = [
        (
            each["name"], each["manifest"][:12], each["family"], each["size"], each["precision"],
            format_bytes(each["parameter_bytes"]), time.strftime("%Y-%m-%d %H:%M", time.localtime(each["added_s"])),
            each["source"],
        )
        for each in found
    ]  # fmt: skip
    say(table("", ("model", "manifest", "family", "-parameters", "precision", "-bytes", "since", "from"), rows))


def _zoo(name: str) -> dict[str, Any]:
    known = card(name)
    accuracy = known.get("test_accuracy", known.get("accuracy"))
    return {
        **_entry(name, load(name), "zoo"),
        "accuracy": accuracy,
        "data": known.get("dataset", name.partition("-")[2]),
    }


def _imported() -> list[dict[str, Any]]:
    catalog = Catalog()
    if not catalog.path.exists():
        return []
    blobs = BlobStore()
    return [_entry(str(each), stored_graph(each.manifest, blobs), "imported") for each in catalog.entries()]


def _weights() -> list[dict[str, Any]]:
    """The models of weights. One that is damaged is listed all the same: `show` says what is wrong with it."""
    store = ModelStore()
    return [_of_weights(each, store) for each in store.names()]


def _of_weights(each: Tagged, store: ModelStore) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": str(each.name), "data": "", "accuracy": None, "operators": 1, "steps": None}
    try:
        manifest = store.manifest(each.manifest)
        described = described_config(store.blobs.get(manifest.config.sha256))
        size = manifest.size
    except SynfireError as error:
        LOGGER.warning("%s is damaged: %s", each.name, error)
        described, size = Described("damaged"), 0
    return {
        **entry,
        "family": described.model_family,
        "parameter_bytes": size,
        "source": each.source,
        "manifest": each.manifest,
        "format": described.model_format,
        "size": described.model_type,
        "precision": described.file_type,
        "added_s": each.added_s,
    }


def _entry(name: str, graph: Graph, source: str) -> dict[str, Any]:
    flat = flatten(graph)
    family, _, data = name.partition("@")[0].partition("-")
    return {
        "name": name,
        "family": family if source == "zoo" else "",
        "data": data if source == "zoo" else "",
        "accuracy": None,
        "operators": len(flat.operators),
        "parameter_bytes": sum(flat.operator(each).parameter_bytes for each in flat.order()),
        "steps": flat.steps,
        "source": source,
    }
