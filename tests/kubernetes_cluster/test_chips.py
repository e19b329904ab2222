"""Chips as Pods of a pool on a real cluster, by kubectl alone: a model computes on them, goes on when the chip dies that has its stages, and says
where it is while there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator

import httpx
import pytest
from deployed import CONTROLLER, SMALL, SYSTEM, condition, events, resource
from under_load import MODEL, PORT, known

from synfire.base.errors import PermanentError
from synfire.base.keys import VARIABLE
from synfire.kubernetes.manifests.plugin import FEATURES
from synfire.testing.callers import Callers, until
from synfire.testing.kubernetes import Cluster, Kubectl
from synfire.wire.client import Client

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NAMESPACE = "synfire-chips"
PLUGIN = "synfire-device-plugin"
RESOURCE = "zj.com/darwin3"
NODES = ("node-0", "node-1")
FAULTS = "run/synfire/darwin3/darwin3-0/faults"
"""Where a node's chip is broken by hand."""

CORES = 517
"""Nine tenths of a chip's: what a device that is a whole chip stands for."""


def chips(kubectl: Kubectl) -> dict[str, str]:
    """How many healthy chips each node has."""
    found = kubectl.get("nodes")["items"]
    return {each["metadata"]["name"]: each["status"]["allocatable"].get(RESOURCE, "0") for each in found}


@pytest.fixture
def plugged(controller: Kubectl, provided: Cluster) -> Iterator[Kubectl]:
    """Two nodes have a chip each, by the device plugin as it is rendered."""
    words = ["--controller", "--chips", "1", "--render", "--json"]
    rendered = subprocess.run(
        [sys.executable, "-m", "synfire", "deploy", "kubernetes", *words], capture_output=True, text=True, check=True
    )
    documents = [each for each in json.loads(rendered.stdout)["documents"] if each["metadata"]["name"] == PLUGIN]
    (daemon,) = (each for each in documents if each["kind"] == "DaemonSet")
    for volume in daemon["spec"]["template"]["spec"]["volumes"]:
        if volume["name"] == "features":  # the machines of these tests share the /etc of this one
            del volume["hostPath"]
            volume["emptyDir"] = {}
    kubectl = provided.kubectl.within(SYSTEM)
    kubectl.apply(*documents)
    for node in NODES:
        kubectl("label", "node", node, f"{RESOURCE}=true")
    until(lambda: chips(kubectl) == {**dict.fromkeys(NODES, "1"), "node-2": "0"})
    yield kubectl
    kubectl("delete", "daemonset", PLUGIN)


def cores(url: str) -> dict[str, tuple[int, int]]:
    """How many cores each worker with a chip has free, and of how many."""
    shown = {"authorization": f"Bearer {os.environ[VARIABLE]}"}
    told = httpx.get(f"{url}/api/workers", headers=shown, timeout=60).json()
    return {each["name"]: (each["free_cores"]["total"], each["cores"]["total"]) for each in told if each["cores"]}


def a_model_without_any_chip_says_so_and_goes_back(kubectl: Kubectl, provided: Cluster) -> None:
    """The one chip that is left dies, too; later both live again, and their Pods are begun anew."""

    def on_its_device() -> dict[str, str]:
        return condition(kubectl, "sfm", "digits", "OnItsDevice")

    assert on_its_device()["status"] == "True"
    files = [provided.nodes[node].machine.folder / FAULTS for node in NODES]
    for each in files:
        each.write_text("chip-dead\n")
    until(lambda: on_its_device()["status"] == "False")
    assert "runs on cpu in place of darwin3" in on_its_device()["message"]
    assert condition(kubectl, "sfm", "digits")["status"] == "True"
    until(lambda: ("Warning", "OnAnotherDevice") in events(kubectl, "digits"))
    for each in files:
        each.unlink()
    until(lambda: [chips(kubectl)[node] for node in NODES] == ["1", "1"])
    pods = [each["metadata"]["name"] for each in kubectl.get("pods")["items"]]
    kubectl("delete", "pod", *(each for each in pods if each.startswith("synfire-chips-")))
    until(lambda: on_its_device()["status"] == "True")
    until(lambda: ("Normal", "AsPlanned") in events(kubectl, "digits"))


def settings_are_those_of_the_namespace(kubectl: Kubectl) -> None:
    """What serves has two gateways, and goes on with them when somebody writes nonsense."""
    serving = kubectl.get("statefulset", "synfire")["spec"]
    command = serving["template"]["spec"]["containers"][0]["command"]
    assert command[command.index("--gateways") + 1] == "2"
    assert condition(kubectl, "sfp", "hosts", "Settings")["status"] == "True"
    kubectl("patch", "configmap", "synfire", "--patch", json.dumps({"data": {"gateways": "many"}}))
    until(lambda: condition(kubectl, "sfp", "hosts", "Settings")["reason"] == "InvalidSettings")
    assert "its keys are gateways" in condition(kubectl, "sfp", "hosts", "Settings")["message"]
    assert kubectl.get("statefulset", "synfire")["spec"] == serving


def test_a_model_computes_on_chips_that_are_pods_of_a_pool_and_moves_when_its_chip_dies(
    plugged: Kubectl, provided: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged("create", "namespace", NAMESPACE)
    kubectl = plugged.within(NAMESPACE)
    kubectl("create", "configmap", "synfire", "--from-literal=gateways=2", "--from-literal=cpuRequest=100m")
    kubectl.apply(
        resource("SynfirePool", "chips", device="darwin3", count=2, **SMALL),
        resource("SynfirePool", "hosts", count=1, **SMALL),
        resource("SynfireModel", "digits", source=MODEL, device="darwin3"),
    )
    try:
        kubectl("wait", "--for=condition=Ready", "sfm,sfp", "--all", "--timeout=400s")
    except PermanentError:
        print(kubectl("describe", "sfm,sfp,pods"), plugged("logs", f"deployment/{CONTROLLER}", "--tail=50"))
        raise

    def place() -> tuple[str, str]:
        """The Pod and the node of the stage that is on a chip: the one with most of the operators."""
        stage = max(kubectl.get("sfm", "digits")["status"]["stages"], key=lambda each: len(each["operators"]))
        return stage["worker"], stage["node"]

    assert "darwin3" in kubectl.get("sfm", "digits")["status"]["profile"]
    pod, node = place()
    assert (pod.startswith("synfire-chips-"), node in NODES) == (True, True)
    given = kubectl("exec", pod, "--", "python3", "-c", "import os; print(os.environ['SYNFIRE_DARWIN3_CHIPS'])")
    assert given == "darwin3-0\n"
    free = plugged("exec", f"daemonset/{PLUGIN}", "--", "python3", "-c", f"print(open('{FEATURES}/synfire').read())")
    assert f"{RESOURCE}.cores-big-free=0\n" in free
    monkeypatch.setenv(VARIABLE, b64decode(kubectl.get("secret", "synfire-keys")["data"]["api-key"]).decode())
    url = f"http://{kubectl.get('service', 'synfire')['spec']['clusterIP']}:{PORT}"
    free_of = cores(url)
    assert {most for _, most in free_of.values()} == {CORES}
    assert [name for name, (left, most) in free_of.items() if left < most] == [pod]
    inputs, _ = known()
    with Client(url) as client:
        right = client.infer("digits", inputs).outputs
    with Callers(url, "digits", inputs, right) as callers:
        (provided.nodes[node].machine.folder / FAULTS).write_text("chip-dead\n")
        until(lambda: place()[1] in {*NODES} - {node})
        callers.go_on()
        until(lambda: chips(kubectl)[node] == "0")
    callers.check("the chip that has a model's stages dies")
    a_model_without_any_chip_says_so_and_goes_back(kubectl, provided)
    settings_are_those_of_the_namespace(kubectl)
    plugged("delete", "namespace", NAMESPACE, "--wait=false")
