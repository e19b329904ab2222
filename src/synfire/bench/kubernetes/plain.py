"""What Kubernetes does by itself: the same image serves the whole model in a Deployment of two replicas behind a Service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from synfire.bench.kubernetes.deployment import CPU
from synfire.bench.kubernetes.ground import Document, Ground, container_of
from synfire.bench.kubernetes.subject import MODEL, PATIENCE_S, Subject
from synfire.kubernetes.manifests import Description, surroundings
from synfire.kubernetes.manifests.description import HTTP
from synfire.kubernetes.manifests.parts import PLACES, environment, pod_spec, probe, resources, scratch

NAME = "plain"
REPLICAS = 2
MEMORY_BYTES = 2 * 2**30
GRACE_S = 30
"""Kubernetes' own default."""

LABELS = {"app.kubernetes.io/name": NAME}
LINGER_S = 5
"""A replica that is told to leave waits so long first, until every node has taken it out of the Service, as is commonly advised."""

PYTHON = "/usr/bin/python3"
"""Of the image, which has no shell to wait in."""


class Plain(Subject):
    """Kubernetes is asked how it is, by its own client, so it is looked at less often."""

    every_s: ClassVar[float] = 0.5
    patience_s: ClassVar[float] = PATIENCE_S
    sets: ClassVar[tuple[str, ...]] = (f"deployment/{NAME}",)

    def whole(self) -> bool:
        status = self._told()
        ready = status.get("readyReplicas") == status.get("updatedReplicas") == status.get("replicas") == REPLICAS
        return ready and len(self._pods()) == REPLICAS == len(self._addresses())

    def exposed(self) -> Sequence[str]:
        return sorted(each["metadata"]["name"] for each in self._pods() if "deletionTimestamp" not in each["metadata"])

    def without(self, pod: Document) -> bool:
        """Whether its container is no more and two others are ready; of one that cannot be reached, whether the Service leads to it no
        more."""
        if pod["status"]["podIP"] not in self._addresses():
            return True
        return container_of(pod) not in map(container_of, self._pods()) and self.whole()

    def _told(self) -> Document:
        found = self.ground.kubectl.get("deployment", NAME)
        seen = found["status"].get("observedGeneration") == found["metadata"]["generation"]
        status: Document = found["status"] if seen else {}
        return status

    def _pods(self) -> list[Document]:
        """Those that leave are among them until they have gone."""
        found: list[Document] = self.ground.kubectl.get("pods", f"--selector=app.kubernetes.io/name={NAME}")["items"]
        return found

    def _addresses(self) -> list[str]:
        """Where the Service leads."""
        subsets = self.ground.kubectl.get("endpoints", NAME).get("subsets") or ()
        return [each["ip"] for subset in subsets for each in subset.get("addresses") or ()]


@contextmanager
def deployed(ground: Ground) -> Iterator[Plain]:
    """It for the block, in a namespace of its own, whole."""
    with ground.apart(NAME) as mine:
        mine.kubectl.apply(*documents(mine.image))
        found = Plain(mine, mine.url(NAME))
        found.until_whole()
        yield found


def documents(image: str) -> list[Document]:
    """Its objects: readiness is asked for every second, replicas are on nodes apart, and a rollout begins one before it ends one."""
    described = Description((), image, NAME, keyed=False)
    volumes = scratch(*PLACES)
    pod = pod_spec(described, _container(described), volumes, GRACE_S)
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": LABELS}}
    pod["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    ports = [{"name": "http", "port": HTTP, "targetPort": "http", "protocol": "TCP"}]
    return [
        surroundings.account(described),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": LABELS, "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME},
            "spec": {
                "replicas": REPLICAS,
                "selector": {"matchLabels": LABELS},
                "strategy": rolling,
                "template": {"metadata": {"labels": LABELS}, "spec": pod},
            },
        },
    ]


def _container(described: Description) -> Document:
    words = [MODEL, "--granularity", "model", "--workers", "1", "--spares", "0"]
    words += ["--host", "0.0.0.0", "--port", str(HTTP), "--grpc-port", "-1"]
    asked = resources(1, MEMORY_BYTES, {})
    asked["requests"]["cpu"] = CPU
    return {
        "name": NAME,
        "image": described.image,
        "command": ["synfire", "serve", *words],
        "env": environment(described),
        "ports": [{"name": "http", "containerPort": HTTP, "protocol": "TCP"}],
        "startupProbe": probe("/v2/health/live", "http", 1, 600),
        "readinessProbe": probe("/v2/health/ready", "http", 1, 1, 1),
        "lifecycle": {
            "preStop": {"exec": {"command": [PYTHON, "-c", f"import time; time.sleep({LINGER_S})"]}},
        },
        "resources": asked,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in PLACES.items()],
    }
