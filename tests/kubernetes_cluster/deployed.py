"""A deployment that is asked for by custom resources: what users write, what its objects tell, and how it answers at its Service."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from under_load import MODEL, PORT

from synfire.base.errors import PermanentError
from synfire.base.keys import VARIABLE, authorization
from synfire.kubernetes.resources import API
from synfire.testing.callers import until
from synfire.testing.kubernetes import Cluster, Kubectl

NAMESPACE = "synfire-resources"
SYSTEM, CONTROLLER = "synfire-system", "synfire-controller"
SPARE, SERVING = "synfire-spares-0", "synfire-0"
SMALL = {"memory": "512Mi", "cpuRequest": "100m"}

INSIDE = """
import os, sys
from urllib.request import Request, urlopen
shown = {"authorization": "Bearer " + os.environ["SYNFIRE_API_KEY"], "content-type": "application/json"}
sys.stdout.buffer.write(urlopen(Request(sys.argv[1], sys.stdin.buffer.read() or None, shown), timeout=60).read())
"""
"""Asks what the first argument names, with what it reads, as any caller in a Pod would who has the key."""


def resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """A custom resource, as a user writes it."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def condition(kubectl: Kubectl, kind: str, name: str, type_: str = "Ready") -> dict[str, str]:
    """What an object says of itself; nothing before there is anything to say."""
    found = kubectl.get(kind, name).get("status", {}).get("conditions", ())
    told: dict[str, str] = next((each for each in found if each["type"] == type_), {})
    return {"status": "", "reason": "", "message": ""} | told


def events(kubectl: Kubectl, name: str) -> set[tuple[str, str]]:
    """Type and reason of the Events that tell of an object of that name."""
    found = kubectl.get("events")["items"]
    return {(each["type"], each["reason"]) for each in found if each["involvedObject"]["name"] == name}


def is_told(kubectl: Kubectl, kind: str, name: str, reason: str, cure: str) -> None:
    """Wait until an object says that it is not ready for this reason; it then also says how to mend it, and there is an Event of it."""
    until(lambda: condition(kubectl, kind, name)["reason"] == reason)
    assert cure in condition(kubectl, kind, name)["message"]
    until(lambda: ("Warning", reason) in events(kubectl, name))


class Deployment:
    """The deployment of a namespace: two hosts and a spare, and a model of which every operator is a stage."""

    name = "digits"

    def __init__(self, kubectl: Kubectl, cluster: Cluster) -> None:
        self.kubectl = kubectl
        self.cluster = cluster
        self.hosts = 2
        self.url = f"http://{kubectl.get('service', 'synfire')['spec']['clusterIP']}:{PORT}"

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl.get(kind, name)["status"]
        return found

    def stages(self) -> list[dict[str, Any]]:
        """Where each stage is, as the model's status tells it."""
        found: list[dict[str, Any]] = self.status("sfm", self.name)["stages"]
        return found

    def members(self) -> dict[str, dict[str, Any]]:
        """What the deployment says of those who have joined and are counted on, by their Pods."""
        found = httpx.get(f"{self.url}/api/workers", headers=authorization()).raise_for_status().json()
        return {each["name"]: each for each in found if each["ready"] and each["status"] == "ready"}

    def whole(self) -> bool:
        """Whether all workers have joined as what they are meant for."""
        return sorted(each["role"] for each in self.members().values()) == [*(["host"] * self.hosts), "spare"]

    def relieved(self) -> bool:
        """Whether the spare has nothing to do, so that it can take over again."""
        found = self.members().get(SPARE)
        return found is not None and not found["plans"]

    def recovery(self) -> dict[str, Any]:
        """The last failure that the model tells of; it was at no time before there was one."""
        found: dict[str, Any] = self.status("sfm", self.name).get("lastRecovery", {"at": ""})
        return found

    def hosting(self) -> tuple[str, str]:
        """A Pod that hosts a stage, and its node: another one than that of the serving Pod, of which there is one."""
        here = self.kubectl.get("pod", SERVING)["spec"]["nodeName"]
        found: list[tuple[str, str]] = []

        def look() -> bool:
            hosts = [(each["worker"], each["node"]) for each in self.stages() if each["worker"] != SPARE]
            found[:] = [(worker, node) for worker, node in hosts if node not in ("", here)]
            return bool(found)

        until(look)
        return found[0]

    def asked(self, url: str, content: bytes = b"") -> Any:
        """What somebody in a Pod is answered."""
        words = ("exec", "--stdin", SPARE, "--", "python3", "-c", INSIDE, url)
        return json.loads(self.kubectl(*words, given=content.decode()))

    def patch(self, kind: str, name: str, **spec: Any) -> None:
        """Change some of what an object asks for; None takes a field out."""
        self.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    @contextmanager
    def changed(self, kind: str, name: str, **spec: Any) -> Iterator[None]:
        """Ask for something else for the block, and afterwards for none of it, whatever becomes of the block: others go on from there."""
        self.patch(kind, name, **spec)
        try:
            yield
        finally:
            self.patch(kind, name, **dict.fromkeys(spec))

    def scale(self, hosts: int) -> None:
        """Have so many hosts."""
        self.kubectl("scale", "sfp/hosts", f"--replicas={hosts}")
        self.has(hosts)

    def has(self, hosts: int) -> None:
        """Wait until there are so many hosts, and expect them from now on."""
        self.hosts = hosts
        until(lambda: self._counted() == (hosts, hosts))

    def _counted(self) -> tuple[int, int]:
        found = self.status("sfp", "hosts")
        return found["count"], found["ready"]


@contextmanager
def deployed(controller: Kubectl, cluster: Cluster) -> Iterator[Deployment]:
    """It for the block, served; callers in this process show its key."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    kubectl = cluster.kubectl.within(NAMESPACE)
    began_s = time.monotonic()
    kubectl.apply(
        resource("SynfirePool", "hosts", count=2, **SMALL),
        resource("SynfirePool", "spares", role="spares", **SMALL),
        resource("SynfireModel", "digits", source=MODEL, granularity="operator", workers=2, apart=True),
    )
    try:
        kubectl("wait", "--for=condition=Ready", "sfm,sfp", "--all", "--timeout=500s")
    except PermanentError:
        told = controller("logs", f"deployment/{CONTROLLER}", "--all-containers", "--tail=50")
        print(kubectl("describe", "sfm,sfp,pods"), told)
        raise
    print(f"served {time.monotonic() - began_s:.0f} s after it was applied")
    with pytest.MonkeyPatch.context() as patch:
        key = kubectl.get("secret", "synfire-keys")["data"]["api-key"]
        patch.setenv(VARIABLE, b64decode(key).decode())
        yield Deployment(kubectl, cluster)
