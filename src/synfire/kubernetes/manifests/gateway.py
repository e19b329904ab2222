"""The Pod of the gateways and the controller, with the workers that plans name at first, and how it is reached."""

from __future__ import annotations

import hashlib

from synfire.kubernetes.manifests.description import GRPC, HTTP, JOIN, Description
from synfire.kubernetes.manifests.parts import (
    GATEWAY,
    IN_CACHE,
    TOKEN_FILE,
    Document,
    claimed,
    document,
    environment,
    labels,
    mounts,
    placed,
    pod_spec,
    probe,
    quantity,
    resources,
    scratch,
    selector,
    token_volume,
)

GRACE_S = 75
"""The longest call takes 60 s; then come goodbyes."""

OVERHEAD = 768 * 2**20
"""Bytes of a process beside what it holds: the interpreter, compiled kernels, batches under way."""


def settings(description: Description) -> Document:
    """What is neither secret nor an option."""
    return document(
        "v1", "ConfigMap", f"{description.name}-settings", description, data={"SYNFIRE_LOG": description.log}
    )


def settled(description: Description) -> dict[str, str]:
    """Annotations of a Pod that change with the settings, so that it is begun anew with them."""
    data = repr(sorted(settings(description)["data"].items()))
    return {"synfire/settings": hashlib.sha256(data.encode()).hexdigest()[:16]}


def services(description: Description) -> list[Document]:
    """For callers, and for workers that join. Both find the Pod before it is ready: workers, since it is not without them, and callers, since
    there is no other one. Its ports are open before anybody answers there, so who calls while its container begins again waits in their queues."""
    found = {"publishNotReadyAddresses": True, "selector": labels(description, GATEWAY)}
    call = {**found, "ports": [_port("http", HTTP), _port("grpc", GRPC)]}
    join = {**found, "clusterIP": "None", "ports": [_port("join", JOIN)]}
    return [
        document("v1", "Service", description.name, description, GATEWAY, spec=call),
        document("v1", "Service", f"{description.name}-join", description, GATEWAY, spec=join),
    ]


def stateful_set(description: Description) -> Document:
    """One Pod, never two: a StatefulSet begins the next when the last is known to have gone."""
    volumes, claims = scratch("tmp"), []
    if description.cache:
        volumes.append(claimed("cache", description.cache))
    elif description.storage_bytes is None:
        volumes += scratch("cache", "home")
    else:
        volumes += scratch("cache")
        claims = [_claim(description, description.storage_bytes)]
    pod = pod_spec(description, _container(description), [*volumes, token_volume(description)], GRACE_S)
    spec: Document = {
        "serviceName": f"{description.name}-join",
        "replicas": 1,
        "selector": selector(description, GATEWAY),
        "template": {
            "metadata": {
                "labels": labels(description, GATEWAY),
                "annotations": settled(description),
            },
            "spec": {**pod, **placed(description.placing)},
        },
    }
    if claims:
        spec["volumeClaimTemplates"] = claims
    return document("apps/v1", "StatefulSet", description.name, description, GATEWAY, spec=spec)


def command(description: Description) -> list[str]:
    """What serves."""
    found = [*description.models, "--host", "0.0.0.0", "--port", str(HTTP), "--grpc-port", str(GRPC)]
    found += ["--join", f"0.0.0.0:{JOIN}", "--join-token-file", TOKEN_FILE, "--gateways", str(description.gateways)]
    found += ["--workers", str(description.workers), "--spares", "0"]  # those are Pods
    if description.workers:
        found += ["--threads", str(description.cpus), "--memory", str(description.memory_bytes)]
        found += ["--device", description.device] if description.device != "cpu" else []
    return ["synfire", "serve", *found, *description.options]


def _container(description: Description) -> Document:
    asked = {description.asked: description.workers}
    memory = description.workers * (description.memory_bytes + OVERHEAD) + (description.gateways + 1) * OVERHEAD
    memory = description.serving_memory_bytes or memory
    sure = resources(description.workers * description.cpus + 1, memory, asked if description.workers else {})
    if description.cpu_request:
        sure["requests"]["cpu"] = description.cpu_request
    return {
        "name": GATEWAY,
        "image": description.image,
        "command": command(description),
        "envFrom": [{"configMapRef": {"name": f"{description.name}-settings"}}],
        "env": environment(description, **_awaited(description)),
        "ports": [_container_port("http", HTTP), _container_port("grpc", GRPC), _container_port("join", JOIN)],
        "startupProbe": probe("/v2/health/live", "http", 1, 600),  # engines are built, the first time for minutes
        "readinessProbe": probe("/v2/health/ready", "http", 1, 3),
        "livenessProbe": probe(
            "/v2/health/live", "http", 10, 6, 5
        ),  # slow: the supervisor replaces its own dead at once
        "resources": sure,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(IN_CACHE if description.cache else None),
    }


def _awaited(description: Description) -> dict[str, Document]:
    """A variable, since an image of before does not mind one that it does not know."""
    return {"SYNFIRE_AWAIT_MODELS": {"value": description.await_models}} if description.await_models else {}


def _claim(description: Description, size_bytes: int) -> Document:
    return {
        "metadata": {"name": "home", "labels": labels(description, GATEWAY)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": quantity(size_bytes)}},
        },
    }


def _port(name: str, number: int) -> Document:
    return {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}


def _container_port(name: str, number: int) -> Document:
    return {"name": name, "containerPort": number, "protocol": "TCP"}
