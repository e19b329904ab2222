"""The cluster that is measured on: one that is brought up for it on this machine, else the one that `KUBECONFIG` names."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from synfire.base.errors import PermanentError, TemporaryError, UserError
from synfire.testing.kubernetes import Cluster, Kubectl, impossible

NODES = 3
"""One for each worker Pod: two that host stages, and a spare, which never shares a node with them."""

IMAGE = "SYNFIRE_IMAGE"
"""The environment variable that names the archive of the image; `make images` makes one."""

WITHIN_S = 600.0
"""How long Kubernetes may take for what is waited for. It counts on a node for 40 s after it was heard of last."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """A namespace of a cluster. `cluster` is the whole where it is ours; None where it is the user's."""

    kubectl: Kubectl
    image: str
    cluster: Cluster | None = None

    @contextmanager
    def apart(self, name: str) -> Iterator[Ground]:
        """The same in a namespace of its own, which is gone at the end."""
        namespace = f"synfire-bench-{name}-{uuid.uuid4().hex[:8]}"
        self.kubectl("create", "namespace", namespace)
        try:
            yield replace(self, kubectl=self.kubectl.within(namespace))
        except BaseException:
            self.kubectl("delete", "namespace", namespace, "--wait=false")
            raise
        self.kubectl("delete", "namespace", namespace, "--timeout=300s")

    def url(self, service: str) -> str:
        """Where callers on this machine reach the first port of a Service: a cluster of ours by the Service's own address, another
        one by a port of its first node."""
        if self.cluster is None:
            self.kubectl("patch", "service", service, '--patch={"spec": {"type": "NodePort"}}')
        spec = self.kubectl.get("service", service)["spec"]
        port = spec["ports"][0]
        if self.cluster is not None:
            return f"http://{spec['clusterIP']}:{port['port']}"
        addresses = self.kubectl.get("nodes")["items"][0]["status"]["addresses"]
        found = next(each["address"] for each in addresses if each["type"] == "InternalIP")
        return f"http://{found}:{port['nodePort']}"

    @property
    def described(self) -> dict[str, Any]:
        """What the cluster is, for the report."""
        told = json.loads(self.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
        nodes = len(self.kubectl.get("nodes")["items"])
        return {"kubernetes": told, "nodes": nodes, "cluster": "on this machine" if self.cluster else "the user's"}

    def rolled_out(self, name: str) -> None:
        """Wait until all Pods of a set are as it says. Raises `PermanentError` with how they are instead."""
        try:
            self.kubectl("rollout", "status", name, f"--timeout={WITHIN_S:.0f}s")
        except PermanentError as error:
            raise PermanentError(f"{error}; its Pods:\n{self.kubectl('get', 'pods', '--output=wide')}") from error

    def pod(self, name: str) -> Document:
        return self.kubectl.get("pod", name)

    def cut(self, node: str) -> None:
        """Pull the node's cable."""
        self._ours.nodes[node].cut()

    def mend(self, node: str) -> None:
        """Put it in again."""
        self._ours.nodes[node].mend()

    def kill(self, pod: Document) -> None:
        """SIGKILL to all processes of a Pod's container, at once."""
        self._ours.nodes[pod["spec"]["nodeName"]].kill(pod)

    def delete(self, pod: Document) -> None:
        """As `kubectl delete pod --grace-period=0`, which gives it a second."""
        self.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--wait=false")

    @property
    def _ours(self) -> Cluster:
        if self.cluster is None:
            raise PermanentError("the cluster is the user's, and its machines are not ours to take away")
        return self.cluster


@contextmanager
def ground() -> Iterator[Ground]:
    """The cluster for the block, with synfire's image on its nodes. Raises `UserError` as `require` does."""
    image = f"synfire:{version('synfire')}"
    if os.environ.get("KUBECONFIG"):
        yield Ground(Kubectl.of_user(), image)
        return
    archive = _archive()
    with Cluster(NODES) as cluster:
        cluster.load(archive)
        yield Ground(cluster.kubectl, image, cluster)


def require(parts: Collection[str], machines: Collection[str]) -> None:
    """Raise `UserError` where these parts cannot be measured here, of which `machines` take machines away."""
    if os.environ.get("KUBECONFIG"):
        Kubectl.of_user()
        if taking := [each for each in parts if each in machines]:
            raise UserError(
                f"{', '.join(taking)}: KUBECONFIG names a cluster of yours, whose machines are not ours to take away; unset it for "
                "one that is brought up on this machine, or name other parts with --only"
            )
        return
    if reason := impossible():
        raise UserError(
            f"{', '.join(parts)} need a Kubernetes cluster, and none can be brought up here: {reason}. Set KUBECONFIG to one of yours, or "
            "name parts that need none: --only controller --only routing"
        )
    _archive()


def until(holds: Callable[[], bool], what: str, every_s: float, within_s: float = WITHIN_S) -> None:
    """Look again and again; who does not answer yet is asked again. Raises `PermanentError` when it does not come about."""
    late_s = time.monotonic() + within_s
    last = ""
    while True:
        try:
            if holds():
                return
        except (httpx.HTTPError, TemporaryError) as error:
            last = f"; last heard: {error or type(error).__name__}"
        if time.monotonic() > late_s:
            raise PermanentError(f"{what} did not come about within {within_s:.0f} s{last}")
        time.sleep(every_s)


def container_of(pod: Document) -> str:
    """The container that runs in a Pod: another one whenever it was begun anew. Empty where none has run yet."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return str(statuses[0].get("containerID", ""))


def restarts_of(pod: Document) -> int:
    """How often its container was begun again. Kubernetes waits longer each time."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount", 0))


def _archive() -> Path:
    """The image's archive. Raises `UserError` where there is none."""
    named = os.environ.get(IMAGE, "")
    found = [Path(named)] if named else sorted(Path("build/images").glob("synfire-[0-9]*.tar"))
    if not found or not found[-1].is_file():
        raise UserError(
            f"{named or 'build/images/synfire-*.tar'} is no archive of synfire's image, which the nodes are given; `make images` makes one, "
            f"{IMAGE} names another"
        )
    return found[-1]
