"""Workers that are Pods: they join the gateway's Pod, and are its spares until stages are moved to them."""

from __future__ import annotations

from synfire.control.state import HOST, SPARE
from synfire.kubernetes.manifests.description import HTTP, JOIN, LINK, Description, Pool
from synfire.kubernetes.manifests.gateway import OVERHEAD, settled
from synfire.kubernetes.manifests.parts import (
    GATEWAY,
    IN_CACHE,
    TOKEN_FILE,
    WORKER,
    Document,
    claimed,
    document,
    environment,
    labels,
    mounts,
    of_field,
    placed,
    pod_spec,
    probe,
    resources,
    scratch,
    selector,
    token_volume,
)

GRACE_S = 60
"""Its stages move first, which takes moments; then it has 35 s to leave."""

POOL, ROLE = "synfire.dev/pool", "synfire.dev/role"
"""Labels of a pool's Pods."""

JOINS_AS = "synfire.dev/joins-as"
"""An annotation of a pool's Pods: the role in which their worker joins. It is read whenever the container begins."""

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


def stateful_set(description: Description, pool: Pool | None = None) -> Document:
    """All at once, each on a node of its own where that is said, nodes of as many zones as there are."""
    pool = pool or description.pool
    marked = labels(description, WORKER) | labels_of(pool)
    spread = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector(description, WORKER),
    }
    cache = [claimed("cache", pool.cache)] if pool.cache else scratch("cache")
    volumes = [*scratch("home"), *cache, *scratch("tmp"), token_volume(description)]
    pod = pod_spec(description, _container(description, pool), volumes, GRACE_S)
    spec = {
        "serviceName": name(description),
        "replicas": pool.count,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": marked},
        "template": {
            "metadata": {"labels": marked, "annotations": settled(description) | _joining(pool)},
            "spec": {
                **pod,
                **placed(pool.placing),
                "affinity": {"podAntiAffinity": _apart(description, pool)},
                "topologySpreadConstraints": [spread],
            },
        },
    }
    return document("apps/v1", "StatefulSet", f"{description.name}-{pool.name}", description, WORKER, spec=spec)


def command(description: Description, pool: Pool | None = None) -> list[str]:
    """What joins. Workers of one node share its fate, so the node is their group; a Pod sees all of its node's cores and memory, and is
    told what it may use of them."""
    pool = pool or description.pool
    door = f"{description.name}-join:{JOIN}"
    found = ["--join", door, "--token-file", TOKEN_FILE, "--name", "$(POD_NAME)", "--group", "$(NODE_NAME)"]
    found += ["--address", "$(POD_IP)", "--port", str(LINK), "--http", f"0.0.0.0:{HTTP}"]
    found += ["--threads", str(pool.cpus), "--memory", str(pool.memory_bytes)]
    found += ["--device", pool.device] if pool.device != "cpu" else []
    found += ["--role", "$(JOINS_AS)"] if pool.role else []
    return ["synfire", "worker", *found]


def labels_of(pool: Pool) -> dict[str, str]:
    """What tells the Pods of pools apart; nothing in plain manifests, which have one."""
    return {POOL: pool.name, ROLE: pool.role} if pool.role else {}


def joins_as(role: str) -> str:
    """The role in which workers of a pool join that has this one."""
    return SPARE if role == "spares" else HOST


def _joining(pool: Pool) -> dict[str, str]:
    """As what the pool's workers join, until somebody says otherwise of one of them."""
    return {JOINS_AS: joins_as(pool.role)} if pool.role else {}


def _container(description: Description, pool: Pool) -> Document:
    itself = {
        "POD_NAME": of_field("metadata.name"),
        "POD_IP": of_field("status.podIP"),
        "NODE_NAME": of_field("spec.nodeName"),
    }
    if pool.role:
        itself["JOINS_AS"] = of_field(f"metadata.annotations['{JOINS_AS}']")
    asked = resources(pool.cpus, pool.memory_bytes + OVERHEAD, {pool.asked: 1})
    if pool.cpu_request:
        asked["requests"]["cpu"] = pool.cpu_request
    return {
        "name": WORKER,
        "image": pool.image or description.image,
        "command": command(description, pool),
        "envFrom": [{"configMapRef": {"name": f"{description.name}-settings"}}],
        "env": environment(description, **itself),
        "ports": [{"name": each, "containerPort": number, "protocol": "TCP"} for each, number in _PORTS.items()],
        "readinessProbe": probe("/v2/health/ready", "http", 2, 2),  # no liveness: heartbeats are that, and quicker
        "resources": asked,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts({"cache": IN_CACHE["cache"]} if pool.cache else None),
    }


def _apart(description: Description, pool: Pool) -> Document:
    """No spare shares a node with what it protects.

    Without roles any worker may come to host a stage and any other to be its spare: so none shares a node with another, or with the
    gateway. With roles, spares keep away from workers, and Kubernetes keeps workers away from spares for that; workers keep away
    from each other where they can.
    """
    values = [WORKER] if pool.role else [GATEWAY, WORKER]
    found: list[Document] = [{"key": "app.kubernetes.io/component", "operator": "In", "values": values}]
    if pool.role == "spares":
        found.append({"key": ROLE, "operator": "In", "values": ["workers"]})
    term = {"topologyKey": NODE, "labelSelector": {**selector(description), "matchExpressions": found}}
    if pool.shares_nodes or pool.role == "workers":
        return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


_PORTS = {"link": LINK, "http": HTTP}
