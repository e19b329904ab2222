"""The machine with etcd, the API server, the controllers and the scheduler, as kubeadm sets them up: with certificates and RBAC.

A kube-proxy runs there too, and the cluster's DNS. So this machine is the way in for callers from outside, who find Services by it.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

import httpx

from synfire.testing.kubernetes import metrics
from synfire.testing.kubernetes.certificates import Authority, Pair
from synfire.testing.kubernetes.machine import Machine, Program
from synfire.testing.kubernetes.networks import Networks
from synfire.testing.kubernetes.proxy import begin_proxy
from synfire.testing.kubernetes.writing import kubeconfig

DOMAIN = "cluster.local"
PORT = 6443

ADMIN_GROUP = "system:masters"

SCALING_S = 5
"""How often it is looked at what HorizontalPodAutoscalers follow, in seconds; by default it would be every 15."""

METRICS = "metrics"
FRONT = "front-proxy-client"
"""As whom the API server asks those who answer for a part of its API."""


class ControlPlane:
    """What is begun on `machine` by the programs in `binaries`."""

    def __init__(self, machine: Machine, networks: Networks, authority: Authority, binaries: Path) -> None:
        self.machine = machine
        self.url = f"https://{machine.host.address}:{PORT}"
        self.networks = networks
        self._authority = authority
        self._binaries = binaries
        self._accounts = authority.signing("accounts")

    @property
    def kubeconfig(self) -> Path:
        """For one who may do everything."""
        return self.kubeconfig_of("kubernetes-admin", ADMIN_GROUP)

    def kubeconfig_of(self, user: str, *groups: str) -> Path:
        """For a user of that name in these groups."""
        path = self.machine.folder / f"{user.rpartition(':')[2]}.kubeconfig"
        if not path.exists():
            kubeconfig(path, self.url, self.authority, self._authority.client(user, *groups))
        return path

    @property
    def authority(self) -> Path:
        """Who has signed all certificates."""
        return self._authority.pair.certificate

    def serving(self, name: str, address: str) -> Pair:
        """A certificate for one who is called at this address."""
        return self._authority.server(name, [address], [name])

    def begin(self) -> None:
        """Begin etcd and the API server, and wait until that says it is ready."""
        data = self.machine.folder / "etcd"
        data.mkdir(0o700)
        self.machine.begin("etcd", ["etcd", "--data-dir", str(data), "--logger", "zap", "--log-level", "warn"])
        server = self._api_server()
        caller = self._authority.client("kubernetes-admin", ADMIN_GROUP)
        with httpx.Client(verify=_trusting(self.authority, caller), timeout=5) as asking:
            server.until(lambda: _answers(asking, f"{self.url}/readyz"), "does not say that it is ready")

    def begin_control(self) -> None:
        """Begin what acts: the controllers, the scheduler, the DNS, and the way to Services."""
        manager = [f"--kubeconfig={self.kubeconfig_of('system:kube-controller-manager')}", "--leader-elect=false"]
        manager += ["--use-service-account-credentials", f"--root-ca-file={self.authority}"]
        manager += [f"--service-account-private-key-file={self._accounts.key}", "--port=0"]
        manager += [f"--cluster-cidr={self.networks.pods}", f"--horizontal-pod-autoscaler-sync-period={SCALING_S}s"]
        self._begin("kube-controller-manager", *manager)
        scheduler = f"--kubeconfig={self.kubeconfig_of('system:kube-scheduler')}"
        self._begin("kube-scheduler", scheduler, "--leader-elect=false", "--port=0")
        address = self.machine.host.address
        words = ["synfire.testing.kubernetes.dns", DOMAIN, address, self.url, *self._caller("synfire-dns")]
        self.machine.begin("dns", [sys.executable, "-m", *words])
        begin_proxy(self.machine, self.networks, self.kubeconfig_of("system:kube-proxy"), self._binaries)

    def begin_metrics(self) -> list[dict[str, Any]]:
        """Begin what answers for custom metrics. Returns the objects by which it is found."""
        address = self.machine.host.address
        shown = self._authority.server("synfire-metrics", [address], ["synfire-metrics.kube-system.svc"])
        words = ["synfire.testing.kubernetes.metrics", address, self.url, *self._caller("synfire-metrics")]
        self.machine.begin(METRICS, [sys.executable, "-m", *words, str(shown.certificate), str(shown.key)])
        return metrics.documents(address, self.authority.read_bytes())

    def _caller(self, user: str) -> list[str]:
        """The authority, the certificate and the key of one of ours who may look at everything."""
        caller = self._authority.client(user, ADMIN_GROUP)
        return [str(each) for each in (self.authority, caller.certificate, caller.key)]

    def _api_server(self) -> Program:
        address = self.machine.host.address
        names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{DOMAIN}",
        ]
        serving = self._authority.server("kube-apiserver", [address, self.networks.api, "127.0.0.1"], names)
        kubelets = self._authority.client("kube-apiserver-kubelet-client", ADMIN_GROUP)
        front = self._authority.client(FRONT)
        return self._begin(
            "kube-apiserver",
            f"--advertise-address={address}",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            f"--client-ca-file={self.authority}",
            "--enable-admission-plugins=NodeRestriction",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--kubelet-certificate-authority={self.authority}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={kubelets.certificate}",
            f"--kubelet-client-key={kubelets.key}",
            f"--proxy-client-cert-file={front.certificate}",
            f"--proxy-client-key-file={front.key}",
            f"--requestheader-allowed-names={FRONT}",
            f"--requestheader-client-ca-file={self.authority}",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--secure-port={PORT}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._accounts.certificate}",
            f"--service-account-signing-key-file={self._accounts.key}",
            f"--service-cluster-ip-range={self.networks.services}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
        )

    def _begin(self, name: str, *options: str) -> Program:
        return self.machine.begin(name, [str(self._binaries / name), *options])


def _trusting(authority: Path, caller: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(caller.certificate, caller.key)
    return context


def _answers(asking: httpx.Client, url: str) -> bool:
    try:
        return asking.get(url).is_success
    except httpx.TransportError:
        return False
