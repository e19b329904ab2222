"""The controller of custom resources: their definitions, two Pods of which one acts, and the rights that it needs, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from synfire.kubernetes.manifests import plugin
from synfire.kubernetes.manifests.description import Board, Description
from synfire.kubernetes.manifests.parts import (
    Document,
    document,
    labels,
    of_field,
    pod_spec,
    probe,
    resources,
    scratch,
    selector,
)
from synfire.kubernetes.resources import GROUP, KINDS, definitions

COMPONENT = "controller"
HEALTH = 8080
GRACE_S = 10

MEMORY = 512 * 2**20
"""Bytes: enough for a thousand models of ten stages each, as `synfire bench kubernetes` measures."""

_READ = ("list", "watch")
_MADE = (*_READ, "create", "update", "delete")

LEASE, KEYS = "synfire-controller", "synfire-keys"
"""The only Lease that it renews, and the only Secret that it reads: each deployment's own, which has this name in every namespace."""


class Right(NamedTuple):
    """What may be done with objects of an API group: with all of them, or only with those of these `names`."""

    group: str
    plurals: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


RIGHTS = (
    Right(GROUP, tuple(each.plural for each in KINDS), (*_READ, "update")),
    Right(GROUP, tuple(f"{each.plural}/status" for each in KINDS), ("update",)),
    Right("", ("configmaps", "endpoints", "serviceaccounts", "services"), _MADE),
    Right("", ("persistentvolumeclaims",), (*_READ, "create", "update")),
    Right("", ("pods",), (*_READ, "patch", "delete")),
    Right("", ("secrets",), ("create",)),
    Right("", ("secrets",), ("get",), (KEYS,)),
    Right("", ("events",), (*_READ, "create")),
    Right("apps", ("statefulsets",), _MADE),
    Right("batch", ("jobs",), _MADE),
    Right("networking.k8s.io", ("networkpolicies",), _MADE),
    Right("policy", ("poddisruptionbudgets",), _MADE),
    Right("autoscaling", ("horizontalpodautoscalers",), _MADE),
)
"""It deletes no claim."""

OF_CLUSTER = (Right("", ("namespaces", "nodes"), _READ),)
"""Where it works in all namespaces, it sees which of these are leaving, and which nodes are being emptied, or lost."""

IN_ITS_OWN = (
    Right("coordination.k8s.io", ("leases",), ("create",)),
    Right("coordination.k8s.io", ("leases",), ("get", "update"), (LEASE,)),
)


@dataclass(frozen=True)
class ControllerDescription:
    """The controller. `only` is the namespace that it works in; empty: all of them. `board` is what emulated chips each node gets that has the
    label for it, by the device plugin; None: there is no plugin. `options` are further words for `synfire controller`."""

    image: str
    namespace: str = "synfire-system"
    name: str = "synfire-controller"
    only: str = ""
    replicas: int = 2
    board: Board | None = None
    options: tuple[str, ...] = ()

    @property
    def described(self) -> Description:
        """As other manifests describe what they render."""
        return Description((), self.image, self.name, self.namespace)


def documents(found: ControllerDescription) -> list[Document]:
    """All objects, in the order in which they are to be made."""
    made = [*definitions(), *_rights(found), _deployment(found), *device_plugin(found)]
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.namespace}}
    return [own, *made] if found.namespace not in ("default", found.only) else made


def device_plugin(found: ControllerDescription) -> list[Document]:
    """What makes chips a resource of nodes, for pools whose workers compute with them."""
    if found.board is None:
        return []
    return plugin.documents(replace(found.described, name=found.name.removesuffix(f"-{COMPONENT}"), board=found.board))


def rules(rights: Sequence[Right]) -> list[Document]:
    """Rights as RBAC writes them."""
    return [_rule(each) for each in rights]


def _rule(right: Right) -> Document:
    found = {"apiGroups": [right.group], "resources": list(right.plurals), "verbs": list(right.verbs)}
    return found | ({"resourceNames": list(right.names)} if right.names else {})


def _rights(found: ControllerDescription) -> list[Document]:
    described, api = found.described, "rbac.authorization.k8s.io/v1"
    account = document("v1", "ServiceAccount", found.name, described, COMPONENT)
    own = document(api, "Role", found.name, described, COMPONENT, rules=rules(IN_ITS_OWN))
    bound = _binding(found, "RoleBinding", "Role", found.name)
    if found.only:
        name = f"{found.name}-deployments"
        role = document(api, "Role", name, described, COMPONENT, rules=rules(RIGHTS))
        binding = _binding(found, "RoleBinding", "Role", name)
        for each in (role, binding):
            each["metadata"]["namespace"] = found.only
        return [account, own, bound, role, binding]
    role = document(api, "ClusterRole", found.name, described, COMPONENT, rules=rules((*RIGHTS, *OF_CLUSTER)))
    binding = _binding(found, "ClusterRoleBinding", "ClusterRole", found.name)
    for each in (role, binding):
        each["metadata"].pop("namespace")
    return [account, own, bound, role, binding]


def _binding(found: ControllerDescription, kind: str, role: str, name: str) -> Document:
    api = "rbac.authorization.k8s.io"
    who = {"kind": "ServiceAccount", "name": found.name, "namespace": found.namespace}
    ref = {"apiGroup": api, "kind": role, "name": name}
    return document(f"{api}/v1", kind, name, found.described, COMPONENT, roleRef=ref, subjects=[who])


def _deployment(found: ControllerDescription) -> Document:
    described = found.described
    pod = pod_spec(described, _container(found), scratch("tmp"), GRACE_S)
    pod["automountServiceAccountToken"] = True
    apart = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": selector(described, COMPONENT),
    }
    pod["affinity"] = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]
        }
    }
    spec = {
        "replicas": found.replicas,
        "selector": selector(described, COMPONENT),
        "template": {"metadata": {"labels": labels(described, COMPONENT)}, "spec": pod},
    }
    return document("apps/v1", "Deployment", found.name, described, COMPONENT, spec=spec)


def _container(found: ControllerDescription) -> Document:
    command = ["synfire", "controller", "--image", found.image, "--identity", "$(POD_NAME)"]
    command += ["--own-namespace", "$(POD_NAMESPACE)", "--health", f"0.0.0.0:{HEALTH}"]
    command += ["--namespace", found.only] if found.only else []
    itself = {"POD_NAME": of_field("metadata.name"), "POD_NAMESPACE": of_field("metadata.namespace")}
    environment = {"SYNFIRE_HOME": "/tmp", "SYNFIRE_CACHE": "/tmp/cache", "SYNFIRE_LOG": "json"}
    variables: list[Document] = [{"name": name, "value": value} for name, value in environment.items()]
    return {
        "name": COMPONENT,
        "image": found.image,
        "command": [*command, *found.options],
        "env": [*variables, *({"name": name, **value} for name, value in itself.items())],
        "ports": [{"name": "health", "containerPort": HEALTH, "protocol": "TCP"}],
        "readinessProbe": probe("/readyz", "health", 5, 2),
        "livenessProbe": probe("/livez", "health", 10, 6, 5),
        "resources": resources(1, MEMORY, {}) | {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
