"""A Kubernetes of one's own on one machine: a control plane and some nodes, each of which takes itself to be a machine.

    with Cluster(nodes=2) as cluster:
        cluster.load(Path("synfire.tar"))
        cluster.kubectl.apply(*documents)

They are real: etcd, and the API server, controllers, scheduler, kubelets and kube-proxies of Kubernetes 1.20.2, with certificates, RBAC,
containerd and runc. Only machines are emulated, by network namespaces, mount namespaces and control groups.

Everything ends with the block. Of a process that is killed the programs end with it; containers and the rest are found and removed
when the next cluster is begun.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from synfire.base.errors import UserError
from synfire.base.processes import born
from synfire.deploy import network
from synfire.kubernetes.images import oci
from synfire.testing.kubernetes import binaries, metrics, networks
from synfire.testing.kubernetes.certificates import Authority
from synfire.testing.kubernetes.cgroups import Group
from synfire.testing.kubernetes.control_plane import METRICS, ControlPlane
from synfire.testing.kubernetes.kubectl import Kubectl
from synfire.testing.kubernetes.machine import PRIVATE, Machine
from synfire.testing.kubernetes.node import PAUSE, Node

RECORDS = Path("/run/synfire-kubernetes")
"""One file for each cluster: whose it is, and where it keeps things."""

MOST_NODES = 32


class Cluster:
    """A cluster of `nodes` nodes; with none it has an API server that takes objects, and nobody who acts on them."""

    def __init__(self, nodes: int = 2) -> None:
        if not 0 <= nodes <= MOST_NODES:
            raise UserError(f"{nodes} nodes cannot be had; ask for 0 to {MOST_NODES}")
        self.name = uuid.uuid4().hex[:8]
        self._count = nodes
        self._record = RECORDS / self.name
        self._group = Group(f"synfire-kubernetes-{self.name}")
        self.folder = Path()
        self.machines: list[Machine] = []
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Cluster:
        if reason := impossible():
            raise UserError(reason)
        sweep()
        self.folder = _folder()
        RECORDS.mkdir(exist_ok=True)
        owner = {"pid": os.getpid(), "born": born(os.getpid()), "folder": str(self.folder)}
        self._record.write_text(json.dumps(owner))
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def kubeconfig(self) -> Path:
        """For one who may do everything."""
        return self.control.kubeconfig

    @property
    def kubectl(self) -> Kubectl:
        """For one who may do everything."""
        return Kubectl(binaries.folder() / "kubectl", self.kubeconfig)

    def load(self, archive: Path) -> None:
        """Give all nodes an image, so that no registry is asked for it."""
        for node in self.nodes.values():
            node.load(archive)

    def measure(self) -> None:
        """Have the API answer for custom metrics: what gateways tell of workers, of the Pods of these. Once is enough."""
        if METRICS in self.control.machine.programs:
            return
        self.kubectl.within("kube-system").apply(*self.control.begin_metrics())
        path = "--output=jsonpath={.status.conditions[?(@.type=='Available')].status}"
        told = ("get", "apiservice", metrics.NAME, path)
        self.control.machine.programs[METRICS].until(lambda: self.kubectl(*told) == "True", "is no part of the API")

    def close(self) -> None:
        """End it, and remove everything of it. Closing twice is no error."""
        self._group.kill()  # all at once, before any of them notices that others are gone
        for machine in self.machines:
            machine.lose_power()
        self.machines.clear()
        _remove(self.name, self.folder)

    def _begin(self) -> None:
        hosts = network.lay(self.name, self._count + 1)
        self.machines = [
            Machine(name, host, self.folder / name, self._group.name)
            for name, host in zip(_names(self._count), hosts, strict=True)
        ]
        for machine in self.machines:
            machine.make()
        shares = networks.taken(hosts[0].address)
        ways = {shares.of_node(number): host.address for number, host in enumerate(hosts[1:])}
        for host in hosts:
            networks.lead(host, ways, str(ipaddress.ip_address(hosts[0].address) - 1))
        self.control = ControlPlane(self.machines[0], shares, Authority(self.folder), binaries.build())
        self.control.begin()
        if not self._count:
            return
        self.control.begin_control()
        pause = _pause(self.folder)
        for number, machine in enumerate(self.machines[1:]):
            node = Node(machine, self.control, shares.of_node(number), binaries.folder(), pause)
            self.nodes[machine.name] = node
            node.begin()
        for node in self.nodes.values():
            node.until_ready(self.kubectl)


def impossible() -> str:
    """Why no cluster can be had here; empty where it can."""
    if reason := network.impossible():
        return reason
    if lacking := binaries.missing(binaries.PROGRAMS):
        return f"a cluster takes {', '.join(lacking)}, which this machine lacks; as root: apt-get install {' '.join(lacking)}"
    return ""


def sweep() -> None:
    """Remove what is left of clusters whose process is gone."""
    for record in sorted(RECORDS.glob("*")):
        owner = json.loads(record.read_text())
        if born(owner["pid"]) != owner["born"]:
            _remove(record.name, Path(owner["folder"]))


def _remove(name: str, folder: Path) -> None:
    group = Group(f"synfire-kubernetes-{name}")
    group.kill()
    group.remove()
    network.remove(name)
    shutil.rmtree(folder, ignore_errors=True)
    (RECORDS / name).unlink(missing_ok=True)


def _folder() -> Path:
    """A folder that all machines see, with a path so short that sockets fit."""
    found = Path(tempfile.mkdtemp(prefix="sfk-")).resolve()
    if any(found.is_relative_to(each) for each in PRIVATE):
        found.rmdir()
        raise UserError(
            f"{found.parent} is a place that each machine has for itself; set TMPDIR to another, such as /tmp"
        )
    return found


def _names(nodes: int) -> Sequence[str]:
    return ["control", *(f"node-{number}" for number in range(nodes))]


def _pause(folder: Path) -> Path:
    layer = folder / "pause-layer.tar"
    with tarfile.open(layer, "w") as files:
        files.add(binaries.folder() / "pause", "pause")
    archive = folder / "pause.tar"
    oci.write(archive, PAUSE, [layer], oci.Running(("/pause",), "65535:65535"))
    return archive
