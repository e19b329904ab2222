"""Objects that cannot be had, on a real cluster: each says what is wrong and how to mend it, and a model that is called notices nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployed import CONTROLLER, SMALL, Deployment, is_told, resource
from under_load import MODEL, calling

from synfire.testing.kubernetes import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NOWHERE = "localhost:1/synfire:0"
"""An image of a registry that nobody answers for."""

CLASSLESS = {"priorityClassName": "nobodys", **SMALL}
UPSIDE_DOWN = {"most": 2, "least": 3}
ORPHAN = {"model": "nobodys", "inputs": {"input": "request.picture"}}

MISTAKES = {
    "tpu": ("SynfirePool", {"device": "tpu"}, "UnknownDevice", "use one of cpu, darwin3, cuda, or name the resource"),
    "nowhere": ("SynfirePool", {"image": NOWHERE, **SMALL}, "ImagePull", "mend its name, or the registry's access"),
    "classless": ("SynfirePool", CLASSLESS, "FailedCreate", "no PriorityClass with name nobodys was found"),
    "homeless": ("SynfirePool", {"nodeSelector": {"disk": "none"}, **SMALL}, "Unschedulable", "or ask for less"),
    "restless": ("SynfirePool", {"autoscale": UPSIDE_DOWN}, "InvalidSpec", "write one that is not"),
    "tiny": ("SynfirePool", {"memory": "10"}, "InvalidSpec", "write it like 512Mi or 2Gi"),
    "storeless": ("SynfirePool", {"cache": "nobodys"}, "NoCache", "make it, or leave cache out"),
    "claimed": ("SynfirePool", {"cache": "claimless", **SMALL}, "NoVolume", "make it, or name another one"),
    "npu": ("SynfireModel", {"device": "npu"}, "UnknownDevice", "use one of cpu, cuda, darwin3"),
    "chipless": ("SynfireModel", {"source": MODEL, "device": "darwin3"}, "NoPool", "make one"),
    "typo": ("SynfireModel", {"source": "svg-digits"}, "LoadFailed", "svg-digits"),
    "path": ("SynfireModel", {"source": "/etc/passwd"}, "InvalidSpec", "one of the store is named, and no path"),
    "twin": ("SynfireModel", {"servedName": "digits"}, "NameTaken", "give this one another servedName"),
    "shrinking": ("SynfireModel", {"source": MODEL, "scale": UPSIDE_DOWN}, "InvalidSpec", "ask for 0 or more"),
    "odd-stage": ("SynfireModel", {"source": MODEL, "stages": {"nobody": {"most": 2}}}, "LoadFailed", "nobody"),
    "odd-profile": ("SynfireModel", {"source": MODEL, "profile": "nonsense"}, "LoadFailed", "nonsense"),
    "aimless": ("SynfirePipeline", {"steps": {"a": {}}, "outputs": {"x": "a"}}, "InvalidChain", "one of model"),
    "orphan": ("SynfirePipeline", {"steps": {"read": ORPHAN}, "outputs": {"x": "read.output"}}, "NoModel", "make one"),
    "diskless": ("SynfireCache", {"models": [MODEL], "storageClassName": "nobodys"}, "NoVolume", "that makes one"),
    "claimless": ("SynfireCache", {"claim": "nobodys"}, "NoVolume", "make it, or name another one"),
    "unheard-of": (
        "SynfireCache",
        {"models": ["svg-digits"], "storageClassName": "mistakes", "size": "32Mi"},
        "WarmingFailed",
        "svg-digits",
    ),
}


def test_mistakes_are_told_with_their_cure_and_harm_no_other_object(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    kubectl.apply(deployment.cluster.nodes["node-0"].volume("mistakes", 32))
    with calling(deployment, f"{len(MISTAKES)} wrong objects"):
        kubectl.apply(*(resource(kind, name, **spec) for name, (kind, spec, _, _) in MISTAKES.items()))
        for name, (kind, _, reason, cure) in MISTAKES.items():
            is_told(kubectl, kind, name, reason, cure)
        pools = ",".join(name for name, (kind, *_) in MISTAKES.items() if kind == "SynfirePool")
        pods = kubectl.get("pods", f"--selector=synfire.dev/pool in ({pools})")["items"]
        begun = [each["restartCount"] for pod in pods for each in pod["status"].get("containerStatuses", ())]
        assert begun == [0]  # that of the image which cannot be pulled: the others have no node, or no Pod
        for kind in {kind for kind, *_ in MISTAKES.values()}:
            kubectl("delete", kind, *(name for name, (each, *_) in MISTAKES.items() if each == kind))


@contextmanager
def lacking(administrator: Kubectl, plural: str) -> Iterator[None]:
    """The controller may not make objects of a kind for the block."""
    rules = administrator.get("clusterrole", CONTROLLER)["rules"]
    (number,) = (number for number, each in enumerate(rules) if plural in each["resources"])

    def allow(verbs: list[str]) -> None:
        patch = json.dumps([{"op": "replace", "path": f"/rules/{number}/verbs", "value": verbs}])
        administrator("patch", "clusterrole", CONTROLLER, "--type=json", f"--patch={patch}")

    allow(["list", "watch"])
    try:
        yield
    finally:
        allow(rules[number]["verbs"])


def test_a_right_that_the_controller_lacks_is_told(
    deployment: Deployment, administrator: Kubectl, kubectl: Kubectl
) -> None:
    with calling(deployment, "a right that the controller lacks"), lacking(administrator, "jobs"):
        kubectl.apply(resource("SynfireCache", "store", models=[MODEL]))
        is_told(kubectl, "sfc", "store", "MissingPermission", 'cannot create resource "jobs"')
    kubectl("delete", "sfc", "store")
