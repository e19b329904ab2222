"""What is rendered is taken by a real API server, and chips come to be a resource of a real kubelet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synfire.base.errors import PermanentError
from synfire.kubernetes.manifests import Description, documents
from synfire.kubernetes.manifests import controller as controllers
from synfire.kubernetes.manifests.controller import ControllerDescription
from synfire.kubernetes.manifests.description import BUDGETS_V1, OLDEST
from synfire.kubernetes.manifests.writing import fresh_keys
from synfire.testing.kubernetes import Cluster, Kubectl
from synfire.testing.kubernetes.machine import Program

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RESOURCE = "zj.com/darwin3"
DESCRIPTIONS = {
    "plain": Description(("svgg-digits",), "synfire:0.1.0"),
    "chips": Description(("svgg-mnist", "a=b@2"), "r.example/synfire:1", name="chips", device="darwin3", workers=3),
    "gpu": Description(("m",), "i", device="cuda", storage_bytes=5 * 2**30, priority=1000, gateways=2),
    "bare": Description(("m",), "i", secret="mine", keyed=False, spares=0, shares_nodes=True),
}


def budgets(kubectl: Kubectl) -> tuple[int, int]:
    """The release whose form of disruption budgets this server has."""
    return BUDGETS_V1 if "policy/v1\n" in kubectl("api-versions") else OLDEST


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_the_server_takes_what_is_rendered(kubectl: Kubectl, description: Description) -> None:
    rendered = documents(description, fresh_keys(), budgets(kubectl))
    said = kubectl.apply(*rendered, dry=True).splitlines()
    assert len(said) == len(rendered)
    assert all(each.endswith(" created (server dry run)") for each in said)


def test_the_server_takes_the_controller_and_its_resources(kubectl: Kubectl) -> None:
    rendered = controllers.documents(ControllerDescription("synfire:0.1.0", namespace=kubectl.namespace))
    rendered = [each for each in rendered if each["kind"] != "Namespace"]  # the test's own is there
    assert len(kubectl.apply(*rendered, dry=True).splitlines()) == len(rendered)


def test_what_no_server_should_take_is_refused(kubectl: Kubectl) -> None:
    rendered: list[dict[str, Any]] = documents(DESCRIPTIONS["plain"], None, budgets(kubectl))
    stateful_set = next(each for each in rendered if each["kind"] == "StatefulSet")
    stateful_set["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"] = "much"
    with pytest.raises(PermanentError, match="quantities must match"):
        kubectl.apply(stateful_set, dry=True)


@pytest.fixture
def plugin(cluster: Cluster, tmp_path: Path) -> Iterator[Program]:
    """A device plugin with two chips, on the first node."""
    machine = cluster.nodes["node-0"].machine
    words = ["device-plugin", "--chips=2", f"--chips-dir={tmp_path}"]
    begun = machine.begin("device-plugin", [sys.executable, "-m", "synfire", *words])
    yield begun
    begun.end()


def allocatable(kubectl: Kubectl) -> str | None:
    found: str | None = kubectl.get("node", "node-0")["status"]["allocatable"].get(RESOURCE)
    return found


def test_chips_are_a_resource_of_the_node_and_one_that_dies_is_taken_off(
    cluster: Cluster, plugin: Program, tmp_path: Path
) -> None:
    kubectl = cluster.kubectl
    plugin.until(lambda: allocatable(kubectl) == "2", "the node does not have two chips")
    (tmp_path / "darwin3-1/faults").write_text("chip-dead\n")
    plugin.until(lambda: allocatable(kubectl) == "1", "the node still has the dead chip")
    cluster.nodes["node-0"].machine.programs["kubelet"].end()
    cluster.nodes["node-0"].begin_kubelet()
    (tmp_path / "darwin3-1/faults").write_text("")
    plugin.until(
        lambda: allocatable(kubectl) == "2", "the kubelet that was begun anew does not know of the mended chip"
    )
