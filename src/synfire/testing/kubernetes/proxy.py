"""kube-proxy: how a machine finds the Pods behind a Service."""

from __future__ import annotations

from pathlib import Path

from synfire.testing.kubernetes.machine import Machine, Program
from synfire.testing.kubernetes.networks import Networks
from synfire.testing.kubernetes.writing import write_json


def begin_proxy(machine: Machine, networks: Networks, kubeconfig: Path, binaries: Path) -> Program:
    """Begin it on the machine. What belongs to the kernel as a whole it leaves as it is."""
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": networks.pods,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "hostnameOverride": machine.name,
        "mode": "iptables",
        "oomScoreAdj": 0,
    }
    config = write_json(machine.folder / "kube-proxy.json", document)
    return machine.begin("kube-proxy", [str(binaries / "kube-proxy"), f"--config={config}"])
