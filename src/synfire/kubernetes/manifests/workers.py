"""Workers that are Pods: they join the gateway's Pod, and are its spares until stages are moved to them."""

from __future__ import annotations

from synfire.kubernetes.manifests.description import HTTP, JOIN, LINK, Description
from synfire.kubernetes.manifests.gateway import OVERHEAD, settled
from synfire.kubernetes.manifests.parts import (
    GATEWAY,
    TOKEN_FILE,
    WORKER,
    Document,
    document,
    environment,
    labels,
    mounts,
    of_field,
    pod_spec,
    probe,
    resources,
    scratch,
    selector,
    token_volume,
)

GRACE_S = 60
"""Its stages move first, which takes moments; then it has 35 s to leave."""

ZONE, NODE = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def name(description: Description) -> str:
    return f"{description.name}-workers"


def service(description: Description) -> Document:
    """Their names. A worker is called before it is ready: that is how it becomes a member."""
    ports = [{"name": each, "port": number, "targetPort": each, "protocol": "TCP"} for each, number in _PORTS.items()]
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": labels(description, WORKER),
        "ports": ports,
    }
    return document("v1", "Service", name(description), description, WORKER, spec=spec)


def stateful_set(description: Description) -> Document:
    """All at once, each on a node of its own, nodes of as many zones as there are."""
    spread = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector(description, WORKER),
    }
    volumes = [*scratch("home", "cache", "tmp"), token_volume(description)]
    pod = pod_spec(description, _container(description), volumes, GRACE_S)
    spec = {
        "serviceName": name(description),
        "replicas": description.spares,
        "podManagementPolicy": "Parallel",
        "selector": selector(description, WORKER),
        "template": {
            "metadata": {"labels": labels(description, WORKER), "annotations": settled(description)},
            "spec": {
                **pod,
                "affinity": {"podAntiAffinity": _apart(description)},
                "topologySpreadConstraints": [spread],
            },
        },
    }
    return document("apps/v1", "StatefulSet", name(description), description, WORKER, spec=spec)


def command(description: Description) -> list[str]:
    """What joins. Workers of one node share its fate, so the node is their group."""
    door = f"{description.name}-join:{JOIN}"
    found = ["--join", door, "--token-file", TOKEN_FILE, "--name", "$(POD_NAME)", "--group", "$(NODE_NAME)"]
    found += ["--address", "$(POD_IP)", "--port", str(LINK), "--http", f"0.0.0.0:{HTTP}"]
    found += ["--device", description.device] if description.device != "cpu" else []
    return ["synfire", "worker", *found]


def _container(description: Description) -> Document:
    itself = {
        "POD_NAME": of_field("metadata.name"),
        "POD_IP": of_field("status.podIP"),
        "NODE_NAME": of_field("spec.nodeName"),
    }
    return {
        "name": WORKER,
        "image": description.image,
        "command": command(description),
        "envFrom": [{"configMapRef": {"name": f"{description.name}-settings"}}],
        "env": environment(description, **itself),
        "ports": [{"name": each, "containerPort": number, "protocol": "TCP"} for each, number in _PORTS.items()],
        "readinessProbe": probe("/v2/health/ready", "http", 2, 2),  # no liveness: heartbeats are that, and quicker
        "resources": resources(description.cpus, description.memory_bytes + OVERHEAD, {description.asked: 1}),
        "volumeMounts": mounts(),
    }


def _apart(description: Description) -> Document:
    """Any worker may come to host a stage and any other to be its spare: so none shares a node with another, or with the gateway."""
    either = {"key": "app.kubernetes.io/component", "operator": "In", "values": [GATEWAY, WORKER]}
    term = {"topologyKey": NODE, "labelSelector": {**selector(description), "matchExpressions": [either]}}
    if description.shares_nodes:
        return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


_PORTS = {"link": LINK, "http": HTTP}
