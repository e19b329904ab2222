"""The custom resources, as the API server is told of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from synfire.kubernetes.resources.kinds import (
    API,
    GROUP,
    VERSION,
    CacheSpec,
    ModelSpec,
    PipelineSpec,
    PoolSpec,
)
from synfire.kubernetes.resources.schema import Schema, schema_of
from synfire.kubernetes.resources.status import CacheStatus, ModelStatus, PipelineStatus, PoolStatus


class Column(NamedTuple):
    """What `kubectl get` shows of an object; with a `priority` above 0 only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


class Kind(NamedTuple):
    """One custom resource: its names, what users say and are told, and what is shown in a table."""

    name: str
    plural: str
    short: str
    spec: type[msgspec.Struct]
    status: type[msgspec.Struct]
    columns: tuple[Column, ...]
    scale: Schema | None = None

    @property
    def singular(self) -> str:
        return self.name.lower()


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_WHY = Column("Reason", _condition("Ready", "reason"))
_WORDS = Column("Message", _condition("Ready", "message"), priority=1)

MODEL = Kind(
    "SynfireModel",
    "synfiremodels",
    "sfm",
    ModelSpec,
    ModelStatus,
    (
        Column("Phase", ".status.phase"),
        Column("Replicas", ".status.replicasReady", "integer"),
        Column("Stages", ".status.stageCount", "integer"),
        Column("Profile", ".status.profile"),
        _WHY,
        _AGE,
        Column("URL", ".status.url", priority=1),
        _WORDS,
    ),
    {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
)
POOL = Kind(
    "SynfirePool",
    "synfirepools",
    "sfp",
    PoolSpec,
    PoolStatus,
    (
        Column("Role", ".spec.role"),
        Column("Device", ".spec.device"),
        Column("Wanted", ".status.wanted", "integer"),
        Column("Ready", ".status.ready", "integer"),
        Column("Hosting", ".status.hosting", "integer"),
        _WHY,
        _AGE,
        _WORDS,
    ),
    {
        "specReplicasPath": ".spec.count",
        "statusReplicasPath": ".status.count",
        "labelSelectorPath": ".status.selector",
    },
)
CACHE = Kind(
    "SynfireCache",
    "synfirecaches",
    "sfc",
    CacheSpec,
    CacheStatus,
    (
        Column("Phase", ".status.phase"),
        Column("Claim", ".status.claim"),
        Column("Capacity", ".status.capacity"),
        _WHY,
        _AGE,
        _WORDS,
    ),
)
PIPELINE = Kind(
    "SynfirePipeline",
    "synfirepipelines",
    "sfpl",
    PipelineSpec,
    PipelineStatus,
    (Column("Phase", ".status.phase"), _WHY, _AGE, Column("URL", ".status.url", priority=1), _WORDS),
)

KINDS = (MODEL, POOL, CACHE, PIPELINE)


def definition(kind: Kind) -> dict[str, Any]:
    """A kind as a CustomResourceDefinition."""
    names = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.singular,
        "shortNames": [kind.short],
        "categories": ["synfire"],
    }
    spec = schema_of(kind.spec) | {"description": _first_line(kind.spec)}
    if "required" not in spec:
        spec["default"] = {}
    whole = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _without_defaults(schema_of(kind.status)),
        },
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}} | ({"scale": kind.scale} if kind.scale else {}),
        "additionalPrinterColumns": [_column(each) for each in kind.columns],
        "schema": {"openAPIV3Schema": whole | ({"required": ["spec"]} if "required" in spec else {})},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "synfire"}},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def definitions() -> list[dict[str, Any]]:
    """All kinds, as CustomResourceDefinitions."""
    return [definition(each) for each in KINDS]


def kind_of(document: dict[str, Any]) -> Kind | None:
    """The kind of an object; None where it is none of ours."""
    if document.get("apiVersion") != API:
        return None
    return next((each for each in KINDS if each.name == document.get("kind")), None)


def _column(column: Column) -> dict[str, Any]:
    told: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return told | ({"priority": column.priority} if column.priority else {})


def _first_line(struct: type) -> str:
    return (struct.__doc__ or "").partition("\n")[0]


def _without_defaults(schema: Schema) -> Schema:
    """A status says what is; nothing is filled in for it."""
    return {
        key: {name: _without_defaults(each) for name, each in value.items()}
        if key == "properties"
        else _without_defaults(value)
        if key == "items"
        else value
        for key, value in schema.items()
        if key != "default"
    }
