"""A Job that fills a cache's volume: what has a place it is pulled from, what has a name is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from synfire.kubernetes.manifests.description import Description
from synfire.kubernetes.manifests.parts import (
    HOME,
    IN_CACHE,
    PLACES,
    Document,
    claimed,
    confined,
    document,
    labels,
    placed,
    pod_spec,
    resources,
    scratch,
    selector,
)

COMPONENT = "cache"

GRACE_S = 10
MEMORY = 4 * 2**30
"""Bytes that building an engine may take; weights are mapped, and count to the system's own cache."""


class Filled(NamedTuple):
    """The volume of a claim, and the models that it gets; the keys of a `secret` are variables of what fetches them."""

    claim: str
    models: Sequence[str]
    secret: str = ""


def job(description: Description, name: str, filled: Filled, tries: int) -> Document:
    """One container for each model, one after the other, so that one which fails says so in the Pod's status. Each try is another Pod, since
    Kubernetes removes one that it tries again when it gives up, with what it said."""
    containers = [_container(description, number, each, filled.secret) for number, each in enumerate(filled.models)]
    spec = pod_spec(description, containers[-1], [claimed("cache", filled.claim), *scratch("tmp")], GRACE_S)
    spec |= {**placed(description.placing), "restartPolicy": "Never"}
    if containers[:-1]:
        spec["initContainers"] = [{**each, "securityContext": confined()} for each in containers[:-1]]
    template = {"metadata": {"labels": labels(description, COMPONENT)}, "spec": spec}
    return document("batch/v1", "Job", name, description, COMPONENT, spec={"backoffLimit": tries, "template": template})


def policy(description: Description) -> Document:
    """It fetches models from where they are, and nobody calls it."""
    allowed = {"podSelector": selector(description, COMPONENT), "policyTypes": ["Ingress", "Egress"], "egress": [{}]}
    name = f"{description.name}-{COMPONENT}"
    return document("networking.k8s.io/v1", "NetworkPolicy", name, description, COMPONENT, spec=allowed)


def _container(description: Description, number: int, model: str, secret: str) -> Document:
    command = ["pull", model] if "://" in model else ["build", model, "--must-keep"]
    environment = {"SYNFIRE_HOME": HOME, "SYNFIRE_CACHE": PLACES["cache"], "SYNFIRE_LOG": "json"}
    return {
        "name": f"model-{number}",
        "image": description.image,
        "command": ["synfire", *command],
        "env": [{"name": each, "value": value} for each, value in environment.items()],
        **({"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}),
        "resources": resources(1, MEMORY, {}) | {"requests": {"cpu": "100m", "memory": "512Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "cache", "mountPath": PLACES[each], "subPath": folder} for each, folder in IN_CACHE.items()
        ]
        + [{"name": "tmp", "mountPath": PLACES["tmp"]}],
    }
