"""The device plugin on every node that is to have emulated chips: those with the label `zj.com/darwin3=true`."""

from __future__ import annotations

from dataclasses import replace

from synfire.kubernetes.manifests.description import Description
from synfire.kubernetes.manifests.parts import Document, confined, document, labels, scratch, selector

COMPONENT = "device-plugin"
SOCKETS, PODS = "/var/lib/kubelet/device-plugins", "/var/lib/kubelet/pod-resources"
CHIPS = "/var/run/synfire/darwin3"
FEATURES = "/etc/kubernetes/node-feature-discovery/features.d"


def documents(description: Description) -> list[Document]:
    """The plugin where no deployment is beside it whose account it could have: with one of its own, which has no rights either."""
    described, account = replace(description, device="darwin3"), f"{description.name}-{COMPONENT}"
    own = document("v1", "ServiceAccount", account, described, COMPONENT, automountServiceAccountToken=False)
    return [own, daemon_set(described, account)]


def daemon_set(description: Description, account: str = "") -> Document:
    """It is root, since the kubelet's folder is root's, and has nothing else of it. Without an `account` it has the deployment's."""
    container = {
        "name": COMPONENT,
        "image": description.image,
        "command": command(description),
        "env": [
            {"name": "SYNFIRE_HOME", "value": "/tmp"},
            {"name": "SYNFIRE_CACHE", "value": "/tmp/cache"},
            {"name": "SYNFIRE_LOG", "value": "json"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": confined(),
        "volumeMounts": [
            {"name": "sockets", "mountPath": SOCKETS},
            {"name": "pods", "mountPath": PODS, "readOnly": True},
            {"name": "chips", "mountPath": CHIPS},
            {"name": "features", "mountPath": FEATURES},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    pod = {
        "serviceAccountName": account or description.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {description.asked: "true"},
        "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            _of_node("sockets", SOCKETS, "Directory"),
            _of_node("pods", PODS, "DirectoryOrCreate"),
            _of_node("chips", CHIPS, "DirectoryOrCreate"),
            _of_node("features", FEATURES, "DirectoryOrCreate"),
            *scratch("tmp"),
        ],
    }
    spec = {
        "selector": selector(description, COMPONENT),
        "template": {"metadata": {"labels": labels(description, COMPONENT)}, "spec": pod},
    }
    return document("apps/v1", "DaemonSet", f"{description.name}-{COMPONENT}", description, COMPONENT, spec=spec)


def command(description: Description) -> list[str]:
    """What tells a node's kubelet of its chips."""
    board = description.board
    found = ["--resource", description.asked, "--features-file", f"{FEATURES}/synfire", "--chips", str(board.chips)]
    found += ["--parts", str(board.parts)] if board.parts != 1 else []
    found += ["--least-cores", str(board.least_cores)] if board.least_cores is not None else []
    found += ["--row", str(board.row)] if board.row is not None else []
    return ["synfire", "device-plugin", *found]


def _of_node(name: str, path: str, kind: str) -> Document:
    return {"name": name, "hostPath": {"path": path, "type": kind}}
