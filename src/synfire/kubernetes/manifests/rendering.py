"""Which documents there are, and in which file each lies: one after the other for `kubectl apply`, or a folder for kustomize."""

from __future__ import annotations

from collections.abc import Mapping

from synfire.kubernetes.manifests import gateway, network, plugin, surroundings, workers
from synfire.kubernetes.manifests.description import BUDGETS_V1, OLDEST, Description, Keys
from synfire.kubernetes.manifests.parts import Document

SECRET = "base/secret.yaml"

_KUSTOMIZE = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
_ONE_NODE = (
    {"op": "remove", "path": "/spec/template/spec/affinity"},
    {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "100m"},
)
_CPU = _ONE_NODE[1:]


def documents(description: Description, keys: Keys | None, version: tuple[int, int]) -> list[Document]:
    """All objects, in the order in which they are to be made. Without `keys` the Secret is left out: it is there already."""
    base = [each for file in _base(description, keys).values() for each in file]
    extra = [plugin.daemon_set(description)] if description.device == "darwin3" else []
    return [*base, surroundings.budget(description, version), *extra]


def files(description: Description, keys: Keys | None) -> dict[str, list[Document]]:
    """A kustomize base and its overlays, by path: one for each form of disruption budgets, and one for a single node."""
    base = _base(description, keys)
    found = {f"base/{name}": each for name, each in base.items()}
    found["base/kustomization.yaml"] = [{**_KUSTOMIZE, "resources": list(base)}]
    found |= _overlay("kubernetes-1.21", "../../base", {"budget.yaml": [surroundings.budget(description, BUDGETS_V1)]})
    found |= _overlay("kubernetes-1.20", "../../base", {"budget.yaml": [surroundings.budget(description, OLDEST)]})
    found |= _one_node(description)
    if description.device == "darwin3":
        daemon = {"device-plugin.yaml": [plugin.daemon_set(description)]}
        found |= _overlay("device-plugin", "../kubernetes-1.21", daemon)
    return found


def _base(description: Description, keys: Keys | None) -> dict[str, list[Document]]:
    priority = description.priority
    found = {
        "account.yaml": [surroundings.account(description)],
        "priority.yaml": [surroundings.priority_class(description, priority)] if priority is not None else [],
        "settings.yaml": [gateway.settings(description)],
        "secret.yaml": [surroundings.secret(description, keys)] if keys is not None else [],
        "network.yaml": network.policies(description),
        "services.yaml": [*gateway.services(description), workers.service(description)],
        "gateway.yaml": [gateway.stateful_set(description)],
        "workers.yaml": [workers.stateful_set(description)],
    }
    return {name: each for name, each in found.items() if each}


def _overlay(name: str, below: str, more: Mapping[str, list[Document]], **changes: object) -> dict[str, list[Document]]:
    kustomization = {**_KUSTOMIZE, "resources": [below, *more], **changes}
    return {f"overlays/{name}/kustomization.yaml": [kustomization]} | {
        f"overlays/{name}/{file}": each for file, each in more.items()
    }


def _one_node(description: Description) -> dict[str, list[Document]]:
    """For kind, minikube and the like: workers share a node, and ask for little of its processor."""
    patches = [
        _patch(workers.name(description), _ONE_NODE),
        _patch(description.name, _CPU),
    ]
    return _overlay("one-node", "../kubernetes-1.21", {}, patches=patches)


def _patch(name: str, operations: tuple[Mapping[str, str], ...]) -> Document:
    lines = [
        f"- {{op: {each['op']}, path: {each['path']}" + (f", value: {each['value']}" if "value" in each else "") + "}"
        for each in operations
    ]
    return {"target": {"kind": "StatefulSet", "name": name}, "patch": "\n".join(lines) + "\n"}
