"""A node: containerd, a kubelet and a kube-proxy on a machine of their own, all as a real one has them.

Pods get their addresses by the plugin `ptp`: each has a cable to its node, which passes on what it sends, so no switch is needed, and
Services work between Pods of one node without settings in the kernel. It keeps no NetworkPolicies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synfire.testing.kubernetes.binaries import PLUGINS
from synfire.testing.kubernetes.control_plane import DOMAIN, ControlPlane
from synfire.testing.kubernetes.kubectl import Kubectl
from synfire.testing.kubernetes.machine import Machine, Program
from synfire.testing.kubernetes.proxy import begin_proxy
from synfire.testing.kubernetes.writing import write_json

PAUSE = "synfire.dev/pause:1"
"""The image that holds a Pod's namespaces."""

SOCKET = "/run/containerd/containerd.sock"

FILLER = "filler"
"""What takes all the room of a volume that is filled."""

_CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
max_container_log_line_size = 65536

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


class Node:
    """What is begun on `machine`. `pods` are the addresses of its Pods, `pause` the archive of the image of that name."""

    def __init__(self, machine: Machine, control: ControlPlane, pods: str, binaries: Path, pause: Path) -> None:
        self.machine = machine
        self.name = machine.name
        self._control = control
        self._pods = pods
        self._binaries = binaries
        self._pause = pause

    def begin(self) -> None:
        """Begin containerd, and what makes the machine a node. It becomes one in a while."""
        containerd = self.begin_containerd()
        containerd.until(self._socket.exists, "has no socket")
        containerd.until(lambda: self.machine.does(["ctr", "version"]), "does not answer")
        self.load(self._pause)
        self.begin_kubelet()
        kubeconfig = self._control.kubeconfig_of("system:kube-proxy")
        begin_proxy(self.machine, self._control.networks, kubeconfig, self._binaries)

    def begin_containerd(self) -> Program:
        """Begin what runs containers. Those that run already go on."""
        folder = self.machine.folder
        (folder / "net.d").mkdir(exist_ok=True)
        write_json(folder / "net.d/10-synfire.conflist", _network(self._pods))
        config = folder / "containerd.toml"
        config.write_text(_CONTAINERD.format(socket=SOCKET, pause=PAUSE, plugins=PLUGINS, folder=folder))
        return self.machine.begin("containerd", ["containerd", "--config", str(config)])

    def begin_kubelet(self) -> Program:
        """Begin what runs Pods."""
        folder = self.machine.folder
        kubeconfig = self._control.kubeconfig_of(f"system:node:{self.name}", "system:nodes")
        config = write_json(folder / "kubelet.json", self._kubelet())
        return self.machine.begin(
            "kubelet",
            [
                str(self._binaries / "kubelet"),
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.machine.host.address}",
                "--container-runtime=remote",
                f"--container-runtime-endpoint=unix://{SOCKET}",
            ],
        )

    def until_ready(self, kubectl: Kubectl) -> None:
        """Wait until the cluster counts on it. Raises `PermanentError` where that does not come about."""
        path = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        told = ("get", "node", self.name, "--ignore-not-found", path)
        self.machine.programs["kubelet"].until(lambda: kubectl(*told) == "True", "is no ready node")

    def cut(self) -> None:
        """Pull its cable: packets vanish, and nobody is told."""
        self.machine.host.cable.cut()

    def mend(self) -> None:
        """Put its cable in again."""
        self.machine.host.cable.mend()

    def kill(self, pod: Mapping[str, Any]) -> None:
        """End all that runs in a Pod's containers at once, as the kernel does that runs out of memory. The kubelet begins them anew."""
        for each in pod["status"]["containerStatuses"]:
            container = each["containerID"].removeprefix("containerd://")
            self.machine.run(["ctr", "--namespace=k8s.io", "tasks", "kill", "--all", "--signal=SIGKILL", container])

    def volume(self, name: str, size_mib: int) -> dict[str, Any]:
        """A disk of its own of that size, in memory, on which anybody may write: a PersistentVolume of storage class `name`, for Pods of this
        node. What is on it goes with the node."""
        place = self.disk(name)
        place.mkdir(parents=True)
        self.machine.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0777", "synfire", str(place)])
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [self.name]}
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": f"{size_mib}Mi"},
            "local": {"path": str(place)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
        }
        metadata = {"name": f"{self.name}-{name}"}
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}

    def disk(self, name: str) -> Path:
        """Where a volume of that name is, on the node."""
        return self.machine.folder / "disks" / name

    def fill(self, name: str) -> None:
        """Write to a volume until there is no room left."""
        self.machine.does(["dd", "if=/dev/zero", f"of={self.disk(name) / FILLER}", "bs=4k"])  # ends with an error then

    def free(self, name: str) -> None:
        """Take away what `fill` has written."""
        self.machine.run(["rm", "--force", str(self.disk(name) / FILLER)])

    def load(self, archive: Path) -> None:
        """Give the node an image, so that no registry is asked for it. Raises `PermanentError` where it is none."""
        self.machine.run(["ctr", "--namespace", "k8s.io", "images", "import", "-"], archive)

    def _kubelet(self) -> dict[str, Any]:
        serving = self._control.serving(self.name, self.machine.host.address)
        resolver = self.machine.folder / "resolv.conf"
        resolver.touch()
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._control.authority)},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.machine.group.name}",
            "clusterDNS": [self._control.machine.host.address],
            "clusterDomain": DOMAIN,
            "evictionHard": {"memory.available": "100Mi"},
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "oomScoreAdj": 0,
            "resolvConf": str(resolver),
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
        }

    @property
    def _socket(self) -> Path:
        return self.machine.folder / SOCKET[1:]


def _network(pods: str) -> dict[str, Any]:
    """For the plugins that give Pods their addresses."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [{"type": "ptp", "ipam": addresses}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "0.4.0", "name": "synfire", "plugins": plugins}
