"""What objects have in common: names, labels, and what a Pod of ours may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synfire.kubernetes.manifests.description import Description, Placing

Document = dict[str, Any]

USER = 65532
"""Nobody's number, as images without a shell have it."""

HOME, CACHE, SECRETS = "/var/lib/synfire", "/var/cache/synfire", "/run/secrets/synfire"
TOKEN_FILE = f"{SECRETS}/join-token"
PLACES = {"home": HOME, "cache": CACHE, "tmp": "/tmp"}
"""Where volumes are mounted that a Pod may write to."""

IN_CACHE = {"home": "home", "cache": "cache"}
"""Folders of a cache's volume, by the volumes whose place they take."""

GATEWAY, WORKER = "gateway", "worker"

_UNITS = (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def labels(description: Description, component: str = "") -> dict[str, str]:
    """Kubernetes' recommended labels."""
    found = {"app.kubernetes.io/name": "synfire", "app.kubernetes.io/instance": description.name}
    return found | ({"app.kubernetes.io/component": component} if component else {})


def selector(description: Description, component: str = "") -> Document:
    """What finds the Pods of the deployment, or of one component."""
    return {"matchLabels": labels(description, component)}


def document(
    api: str, kind: str, name: str, description: Description, component: str = "", /, **content: Any
) -> Document:
    """An object with its name and labels."""
    metadata: Document = {"name": name, "labels": labels(description, component)}
    if description.namespace and kind != "PriorityClass":
        metadata["namespace"] = description.namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}


def quantity(count: int) -> str:
    """Bytes as Kubernetes writes them."""
    return next((f"{count // size}{unit}" for unit, size in _UNITS if count % size == 0 and count), str(count))


def pod_spec(description: Description, container: Document, volumes: Sequence[Document], grace_s: int) -> Document:
    """A Pod that may do nothing at Kubernetes' API or on its node, and has neither root nor a writable root."""
    spec: Document = {
        "serviceAccountName": description.name,
        "automountServiceAccountToken": False,
        "shareProcessNamespace": True,  # the kernel keeps SIGTERM from a namespace's first process until Python asks for it
        "enableServiceLinks": False,  # a Service called synfire would set SYNFIRE_… variables
        "terminationGracePeriodSeconds": grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{**container, "securityContext": confined()}],
        "volumes": list(volumes),
    }
    return spec | ({"priorityClassName": description.name} if description.priority is not None else {})


def placed(placing: Placing) -> Document:
    """What a Pod's spec says of nodes, and of its rank."""
    found: Document = {"nodeSelector": dict(placing.node_selector)} if placing.node_selector else {}
    if placing.tolerations:
        found["tolerations"] = [dict(each) for each in placing.tolerations]
    return found | ({"priorityClassName": placing.priority_class} if placing.priority_class else {})


def confined() -> Document:
    """A container that can gain nothing."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def scratch(*names: str) -> list[Document]:
    """Volumes that go with the Pod."""
    return [{"name": name, "emptyDir": {}} for name in names]


def claimed(name: str, claim: str) -> Document:
    """A volume that outlives the Pod."""
    return {"name": name, "persistentVolumeClaim": {"claimName": claim}}


def environment(description: Description, **more: Document) -> list[Document]:
    """Where synfire keeps things, the callers' keys, and more variables."""
    found: list[Document] = [{"name": "SYNFIRE_HOME", "value": HOME}, {"name": "SYNFIRE_CACHE", "value": CACHE}]
    if description.keyed:
        key = {"name": description.secret_name, "key": "api-key"}
        found.append({"name": "SYNFIRE_API_KEY", "valueFrom": {"secretKeyRef": key}})
    return found + [{"name": name, **value} for name, value in more.items()]


def of_field(path: str) -> Document:
    """A variable that tells a Pod of itself."""
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


def token_volume(description: Description) -> Document:
    """The token, and nothing else of the Secret, as a file that only synfire reads."""
    items = [{"key": "join-token", "path": "join-token", "mode": 0o440}]
    return {"name": "join-token", "secret": {"secretName": description.secret_name, "items": items}}


def mounts(shared: Mapping[str, str] | None = None) -> list[Document]:
    """Where a Pod may write, and where it finds the token; `shared` are folders of one volume, `cache`, by the volumes whose place
    they take."""
    written = [_mount(name, path, (shared or {}).get(name)) for name, path in PLACES.items()]
    return [*written, {"name": "join-token", "mountPath": SECRETS, "readOnly": True}]


def _mount(name: str, path: str, folder: str | None) -> Document:
    return (
        {"name": name, "mountPath": path} if folder is None else {"name": "cache", "mountPath": path, "subPath": folder}
    )


def resources(cpus: int, memory_bytes: int, asked: Mapping[str, int]) -> Document:
    """What a container is sure of, and may not exceed. There is no limit on processors: a throttled worker misses its heartbeats."""
    extended = {name: str(count) for name, count in asked.items() if name}
    memory = quantity(memory_bytes)
    return {
        "requests": {"cpu": str(cpus), "memory": memory, **extended},
        "limits": {"memory": memory, **extended},
    }


def probe(path: str, port: str, every_s: int, failures: int, within_s: int = 2) -> Document:
    """A question over HTTP."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": every_s,
        "failureThreshold": failures,
        "timeoutSeconds": within_s,
    }
