"""What is brought up is a Kubernetes: Pods run on several nodes, find each other by name, and obey RBAC; and nothing of it is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.deploy import network
from synfire.testing.kubernetes import Cluster, Kubectl, binaries, impossible, sweep
from synfire.testing.kubernetes.cgroups import Group
from synfire.testing.kubernetes.cluster import RECORDS
from synfire.testing.kubernetes.node import PAUSE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """Pods that wait, on nodes apart."""
    labels = {"app": name}
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    pod = {
        "terminationGracePeriodSeconds": 1,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "containers": [{"name": "waits", "image": PAUSE, "imagePullPolicy": "IfNotPresent"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def headless(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 80}]},
    }


def test_pods_run_on_all_nodes_and_are_found_by_name(cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("waiting", len(cluster.nodes)), headless("waiting"))
    kubectl("rollout", "status", "deployment/waiting", "--timeout=60s")
    pods = kubectl.get("pods")["items"]
    assert {each["spec"]["nodeName"] for each in pods} == set(cluster.nodes)
    name = f"waiting.{kubectl.namespace}.svc.cluster.local"
    script = (
        f"import socket; print(*sorted({{each[4][0] for each in socket.getaddrinfo('{name}', 80, socket.AF_INET)}}))"
    )
    resolver = cluster.control.machine.folder / "resolv.conf"
    resolver.write_text(f"nameserver {cluster.control.machine.host.address}\n")
    asking = f'mount --bind {resolver} /etc/resolv.conf; exec {sys.executable} -c "{script}"'
    found = cluster.nodes["node-1"].machine.run(["unshare", "--mount", "sh", "-ec", asking])
    assert found.split() == sorted(each["status"]["podIP"] for each in pods)


def test_a_user_without_rights_is_refused(cluster: Cluster) -> None:
    nobody = Kubectl(cluster.kubectl.program, cluster.control.kubeconfig_of("nobody"))
    with pytest.raises(PermanentError, match='User "nobody" cannot list resource "secrets"'):
        nobody("get", "secrets")


def test_a_cluster_whose_process_was_killed_is_removed_by_the_next() -> None:
    if reason := impossible():
        pytest.skip(reason)
    with subprocess.Popen(
        [sys.executable, "-m", "synfire.testing.kubernetes", "--nodes=1"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        config = Path(process.stdout.readline().partition("=")[2].strip())
        folder = config.parent.parent
        (record,) = (each for each in RECORDS.iterdir() if json.loads(each.read_text())["folder"] == str(folder))
        kubectl = Kubectl(binaries.folder() / "kubectl", config)
        kubectl.apply(deployment("left", 1))
        kubectl("rollout", "status", "deployment/left", "--timeout=60s")
        process.send_signal(signal.SIGKILL)
    group = Group(f"synfire-kubernetes-{record.name}")
    assert group.processes  # the container
    sweep()
    assert group.processes == set()
    assert not folder.exists()
    assert not record.exists()
    with pytest.raises(UserError, match="no emulated hosts"):
        network.Cable.of(record.name, "host-0")
