"""`synfire list`: the models at hand."""

from __future__ import annotations

from typing import Any

from synfire.cli.output import AsJson, print_json, say, table
from synfire.formats.bundle import stored_graph
from synfire.graph import Graph, flatten
from synfire.plan.costs import format_bytes
from synfire.store import BlobStore, Catalog
from synfire.zoo import card, load, names


def list_models(as_json: AsJson = False) -> None:
    """List the models that can be served by name: the zoo's and the imported ones.

    \b
    Examples:
      synfire list
      synfire list --json
    """
    found = [*(_zoo(name) for name in names()), *_imported()]
    if as_json:
        print_json({"models": found})
        return
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
