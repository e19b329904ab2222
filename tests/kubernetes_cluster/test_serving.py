"""What `synfire deploy kubernetes --render` writes, on a real cluster: it serves, and no call is lost when Pods go. What befalls workers unasked is
the same as with custom resources, and is tried with those."""

from __future__ import annotations

import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator

import deployed
import httpx
import pytest
from under_load import MODEL, PORT, calling, drain

from synfire.base.errors import PermanentError
from synfire.base.keys import VARIABLE, authorization
from synfire.testing.callers import until
from synfire.testing.kubernetes import Cluster, Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

NAMESPACE = "synfire-serving"


class Deployment:
    """A deployment in the cluster, with the two Pods that are its spares."""

    name = MODEL

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.url = f"http://{kubectl.get('service', 'synfire')['spec']['clusterIP']}:{PORT}"

    def members(self) -> dict[str, list[str]]:
        """The Pods that have joined and can be counted on, each with the stages that it hosts."""
        found = httpx.get(f"{self.url}/api/workers", headers=authorization()).raise_for_status().json()
        return {
            each["name"]: [stage["stage"] for stage in each["stages"]]
            for each in found
            if each["name"].startswith("synfire-workers-") and each["ready"]
        }

    def hosting(self) -> str:
        """A Pod that hosts a stage; stages are spread first, where none does."""
        self.kubectl("exec", "synfire-0", "--", "synfire", "rebalance")
        until(lambda: any(self.members().values()))
        return next(name for name, stages in self.members().items() if stages)

    def node_of(self, pod: str) -> str:
        return str(self.kubectl.get("pod", pod)["spec"]["nodeName"])

    def whole(self) -> bool:
        """Whether both Pods are members again."""
        return len(self.members()) == 2


@pytest.fixture(scope="module")
def deployment(provided: Cluster) -> Iterator[Deployment]:
    # Whatever is left there, after a test that failed, has the processors that are wanted here.
    provided.kubectl("delete", "namespace", deployed.NAMESPACE, "--ignore-not-found", "--timeout=300s")
    provided.kubectl("create", "namespace", NAMESPACE)
    kubectl = provided.kubectl.within(NAMESPACE)
    words = ["--render", "--kubernetes", "1.20", "--option", "--granularity operator --apart"]
    rendered = subprocess.run(
        [sys.executable, "-m", "synfire", "deploy", "kubernetes", MODEL, *words],
        capture_output=True,
        text=True,
        check=True,
    )
    kubectl("apply", "--filename=-", given=rendered.stdout)
    with pytest.MonkeyPatch.context() as patch:
        key = kubectl.get("secret", "synfire-keys")["data"]["api-key"]
        patch.setenv(VARIABLE, b64decode(key).decode())
        began_s = time.monotonic()
        try:
            for name in ("synfire", "synfire-workers"):
                kubectl("rollout", "status", f"statefulset/{name}", "--timeout=600s")
        except PermanentError:
            print(kubectl("describe", "pods"), kubectl("logs", "synfire-0", "--tail=50"))
            raise
        print(f"served {time.monotonic() - began_s:.0f} s after it was applied")
        yield Deployment(kubectl)
    provided.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_answers_are_those_of_this_machine(deployment: Deployment) -> None:
    with calling(deployment, "through the Service") as callers:
        callers.go_on(100)


def test_a_pod_that_hosts_a_stage_is_deleted_under_load(deployment: Deployment) -> None:
    pod = deployment.hosting()
    with calling(deployment, "kubectl delete pod"):
        deployment.kubectl("delete", "pod", pod)


def test_a_node_that_hosts_a_stage_is_drained_under_load(deployment: Deployment) -> None:
    pod = deployment.hosting()
    with calling(deployment, "kubectl drain"):
        drain(deployment.kubectl, deployment.node_of(pod))
