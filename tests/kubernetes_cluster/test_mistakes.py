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

MISTAKES = {
    "tpu": ("SynfirePool", {"device": "tpu"}, "UnknownDevice", "use one of cpu, darwin3, cuda, or name the resource"),
    "npu": ("SynfireModel", {"device": "npu"}, "UnknownDevice", "use one of cpu, cuda, darwin3"),
    "typo": ("SynfireModel", {"source": "svg-digits"}, "LoadFailed", "svg-digits"),
    "twin": ("SynfireModel", {"servedName": "digits"}, "NameTaken", "give this one another servedName"),
    "nowhere": ("SynfirePool", {"image": NOWHERE, **SMALL}, "ImagePull", "mend its name, or the registry's access"),
    "diskless": (
        "SynfireCache",
        {"models": [MODEL], "storageClassName": "nobodys"},
        "NoVolume",
        "name a storageClassName of this cluster that makes one",
    ),
}


def test_mistakes_are_told_with_their_cure_and_harm_no_other_object(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    with calling(deployment, "six wrong objects"):
        kubectl.apply(*(resource(kind, name, **spec) for name, (kind, spec, _, _) in MISTAKES.items()))
        for name, (kind, _, reason, cure) in MISTAKES.items():
            is_told(kubectl, kind, name, reason, cure)
        (pod,) = kubectl.get("pods", "--selector=synfire.dev/pool=nowhere")["items"]
        assert [each["restartCount"] for each in pod["status"]["containerStatuses"]] == [0]
        kubectl("delete", "sfp", "tpu", "nowhere")
        kubectl("delete", "sfm", "npu", "typo", "twin")
        kubectl("delete", "sfc", "diskless")


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
