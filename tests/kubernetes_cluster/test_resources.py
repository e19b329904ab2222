"""Custom resources on a real cluster, from `kubectl apply` to the answer, whatever happens to Pods, nodes and the controller meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from under_load import MODEL, PORT, calling, drain, known

from synfire.base.errors import PermanentError
from synfire.base.keys import VARIABLE, authorization
from synfire.kubernetes.resources import API
from synfire.testing.callers import until
from synfire.testing.kubernetes import Cluster, Kubectl
from synfire.wire import oip

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NAMESPACE = "synfire-resources"
SYSTEM, CONTROLLER = "synfire-system", "synfire-controller"
SPARE, SERVING = "synfire-spares-0", "synfire-0"
SMALL = {"memory": "512Mi", "cpuRequest": "100m"}
NOWHERE = "localhost:1/synfire:0"
"""An image of a registry that nobody answers for."""

MADE = "statefulset,service,endpoints,configmap,serviceaccount,networkpolicy,poddisruptionbudget"

INSIDE = """
import os, sys
from urllib.request import Request, urlopen
shown = {"authorization": "Bearer " + os.environ["SYNFIRE_API_KEY"], "content-type": "application/json"}
sys.stdout.buffer.write(urlopen(Request(sys.argv[1], sys.stdin.buffer.read() or None, shown), timeout=60).read())
"""
"""Asks what the first argument names, with what it reads, as any caller in a Pod would who has the key."""


def resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """A custom resource, as a user writes it."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def ready(kubectl: Kubectl, kind: str, name: str) -> dict[str, str]:
    """The condition `Ready` of an object; an empty one before there is any."""
    found = kubectl.get(kind, name).get("status", {}).get("conditions", ())
    return next((each for each in found if each["type"] == "Ready"), {"reason": "", "message": ""})


def events(kubectl: Kubectl, name: str) -> set[tuple[str, str]]:
    """Type and reason of the Events that tell of an object of that name."""
    found = kubectl.get("events")["items"]
    return {(each["type"], each["reason"]) for each in found if each["involvedObject"]["name"] == name}


class Deployment:
    """The deployment of a namespace: what its objects tell, by kubectl, and how it answers at its Service."""

    name = "digits"

    def __init__(self, kubectl: Kubectl, cluster: Cluster) -> None:
        self.kubectl = kubectl
        self.cluster = cluster
        self.hosts = 2
        self.url = f"http://{kubectl.get('service', 'synfire')['spec']['clusterIP']}:{PORT}"

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl.get(kind, name)["status"]
        return found

    def stages(self) -> list[dict[str, Any]]:
        """Where each stage is, as the model's status tells it."""
        found: list[dict[str, Any]] = self.status("sfm", self.name)["stages"]
        return found

    def members(self) -> dict[str, dict[str, Any]]:
        """What the deployment says of those who have joined and are counted on, by their Pods."""
        found = httpx.get(f"{self.url}/api/workers", headers=authorization()).raise_for_status().json()
        return {each["name"]: each for each in found if each["ready"] and each["status"] == "ready"}

    def whole(self) -> bool:
        """Whether all workers have joined as what they are meant for."""
        return sorted(each["role"] for each in self.members().values()) == [*(["host"] * self.hosts), "spare"]

    def relieved(self) -> bool:
        """Whether the spare has nothing to do, so that it can take over again."""
        found = self.members().get(SPARE)
        return found is not None and not found["plans"]

    def recovery(self) -> dict[str, Any]:
        """The last failure that the model tells of; it was at no time before there was one."""
        found: dict[str, Any] = self.status("sfm", self.name).get("lastRecovery", {"at": ""})
        return found

    def hosting(self) -> tuple[str, str]:
        """A Pod that hosts a stage, and its node: another one than that of the serving Pod, of which there is one."""
        here = self.kubectl.get("pod", SERVING)["spec"]["nodeName"]
        found: list[tuple[str, str]] = []

        def look() -> bool:
            hosts = [(each["worker"], each["node"]) for each in self.stages() if each["worker"] != SPARE]
            found[:] = [(worker, node) for worker, node in hosts if node not in ("", here)]
            return bool(found)

        until(look)
        return found[0]

    def asked(self, url: str, content: bytes = b"") -> Any:
        """What somebody in a Pod is answered."""
        words = ("exec", "--stdin", SPARE, "--", "python3", "-c", INSIDE, url)
        return json.loads(self.kubectl(*words, given=content.decode()))

    def scale(self, hosts: int) -> None:
        """Have so many hosts."""
        self.kubectl("scale", "sfp/hosts", f"--replicas={hosts}")
        self.hosts = hosts
        until(lambda: self._counted() == (hosts, hosts))

    def _counted(self) -> tuple[int, int]:
        found = self.status("sfp", "hosts")
        return found["count"], found["ready"]


@pytest.fixture(scope="module")
def controller(provided: Cluster) -> Iterator[Kubectl]:
    """The controller as it is rendered, and its namespace."""
    words = ["--controller", "--render", "--option", "--cpu-request 100m"]
    rendered = subprocess.run(
        [sys.executable, "-m", "synfire", "deploy", "kubernetes", *words], capture_output=True, text=True, check=True
    )
    kubectl = provided.kubectl.within(SYSTEM)
    kubectl("apply", "--filename=-", given=rendered.stdout)
    try:
        kubectl("rollout", "status", f"deployment/{CONTROLLER}", "--timeout=300s")
    except PermanentError:
        print(kubectl("describe", "pods"), kubectl("logs", f"deployment/{CONTROLLER}", "--tail=50"))
        raise
    yield kubectl
    kubectl("delete", "--filename=-", "--wait=false", given=rendered.stdout)


@pytest.fixture(scope="module")
def deployment(controller: Kubectl, provided: Cluster) -> Iterator[Deployment]:
    """Two hosts and a spare, and a model of which every operator is a stage."""
    provided.kubectl("create", "namespace", NAMESPACE)
    kubectl = provided.kubectl.within(NAMESPACE)
    began_s = time.monotonic()
    kubectl.apply(
        resource("SynfirePool", "hosts", count=2, **SMALL),
        resource("SynfirePool", "spares", role="spares", **SMALL),
        resource("SynfireModel", "digits", source=MODEL, granularity="operator", workers=2, apart=True),
    )
    try:
        kubectl("wait", "--for=condition=Ready", "sfm,sfp", "--all", "--timeout=500s")
    except PermanentError:
        told = controller("logs", f"deployment/{CONTROLLER}", "--all-containers", "--tail=50")
        print(kubectl("describe", "sfm,sfp,pods"), told)
        raise
    print(f"served {time.monotonic() - began_s:.0f} s after it was applied")
    with pytest.MonkeyPatch.context() as patch:
        key = kubectl.get("secret", "synfire-keys")["data"]["api-key"]
        patch.setenv(VARIABLE, b64decode(key).decode())
        yield Deployment(kubectl, provided)
    kubectl("delete", "sfm,sfp,sfpl", "--all", "--timeout=120s")
    provided.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("SynfirePool", {"count": "many"}, 'spec.count in body must be of type integer: "string"'),
        ("SynfirePool", {"count": -1}, "spec.count in body should be greater than or equal to 0"),
        ("SynfirePool", {"role": "reserve"}, 'Unsupported value: "reserve": supported values: "spares", "workers"'),
        ("SynfirePool", {"device": "TPU v5"}, "spec.device in body should match '^[a-z][-a-z0-9]*$'"),
        (
            "SynfireModel",
            {"granularity": "fine"},
            'Unsupported value: "fine": supported values: "auto", "block", "model", "operator"',
        ),
        ("SynfireModel", {"replicas": 100}, "spec.replicas in body should be less than or equal to 99"),
        ("SynfireCache", {"size": "ten"}, "spec.size in body should match"),
        ("SynfirePipeline", {"outputs": {}}, "spec.steps: Required value"),
    ],
)
def test_a_field_of_a_wrong_form_is_refused_by_the_server(
    controller: Kubectl, kind: str, spec: dict[str, Any], words: str
) -> None:
    wrong = json.dumps(resource(kind, "wrong", **spec))
    with pytest.raises(PermanentError, match=re.escape(words)):
        controller("apply", "--validate=false", "--filename=-", given=wrong)


def test_a_field_that_there_is_not_is_refused_by_kubectl_which_also_explains_those_that_there_are(
    controller: Kubectl,
) -> None:
    explained = " ".join(controller("explain", "synfiremodels.spec.granularity").split())
    assert "How finely it is cut into stages: whole, behind blocks, every operator, or where it pays." in explained
    with pytest.raises(PermanentError, match=re.escape('"cuont" in dev.synfire.v1alpha1.SynfirePool.spec')):
        controller.apply(resource("SynfirePool", "wrong", cuont=1))


def test_columns_tell_how_objects_are(deployment: Deployment) -> None:
    heads, row = (each.split() for each in deployment.kubectl("get", "sfm", "digits").splitlines())
    assert heads == ["NAME", "PHASE", "REPLICAS", "STAGES", "PROFILE", "REASON", "AGE"]
    assert row[:-1] == ["digits", "Ready", "1", str(len(deployment.stages())), "cpu", "Served"]
    heads, row = (each.split() for each in deployment.kubectl("get", "sfp", "hosts").splitlines())
    assert heads == ["NAME", "ROLE", "DEVICE", "WANTED", "READY", "HOSTING", "REASON", "AGE"]
    assert row[:-1] == ["hosts", "workers", "cpu", "2", "2", "2", "AllJoined"]
    shown = deployment.kubectl("get", "synfire")
    assert all(each in shown for each in ("synfiremodel.synfire.dev/digits", "synfirepool.synfire.dev/spares"))


def test_a_caller_in_the_cluster_is_answered_as_on_this_machine(deployment: Deployment) -> None:
    inputs, expected = known()
    content, _ = oip.build_infer_request(inputs, binary=False)
    answer = deployment.asked(f"{deployment.status('sfm', 'digits')['url']}/infer", content)
    found = oip.parse_infer_response(json.dumps(answer).encode()).outputs
    assert {name: each.tobytes() for name, each in found.items()} == {
        name: each.tobytes() for name, each in expected.items()
    }


def test_each_stage_answers_by_a_service_of_its_own(deployment: Deployment) -> None:
    stages = deployment.stages()
    assert len({each["service"] for each in stages}) == len(stages) > 2
    for stage in (stages[0], stages[-1]):
        url = f"http://{stage['service']}:{PORT}{stage['path']}"
        told = deployment.asked(url)
        assert told["name"] == unquote(stage["path"].rpartition("/")[2])
        inputs = {
            each["name"]: np.zeros([max(1, length) for length in each["shape"]], oip.DATATYPES[each["datatype"]])
            for each in told["inputs"]
        }
        answer = deployment.asked(f"{url}/infer", oip.build_infer_request(inputs, binary=False)[0])
        shapes = {each["name"]: each["shape"] for each in answer["outputs"]}
        for each in told["outputs"]:
            pairs = zip(each["shape"], shapes[each["name"]], strict=True)
            assert all(wanted in (-1, size) for wanted, size in pairs)


def test_a_pipeline_answers_as_the_model_that_it_calls(deployment: Deployment) -> None:
    inputs, expected = known()
    (name,) = inputs
    steps = {"read": {"model": "digits", "inputs": {name: f"request.{name}"}}}
    deployment.kubectl.apply(resource("SynfirePipeline", "reader", steps=steps, outputs={"scores": "read"}))
    deployment.kubectl("wait", "--for=condition=Ready", "sfpl/reader", "--timeout=60s")
    content, _ = oip.build_infer_request(inputs, binary=False)
    answer = deployment.asked(f"{deployment.status('sfpl', 'reader')['url']}/infer", content)
    found = oip.parse_infer_response(json.dumps(answer).encode()).outputs["scores"]
    assert [found.tobytes()] == [each.tobytes() for each in expected.values()]
    deployment.kubectl("delete", "sfpl", "reader")


def test_pods_say_what_they_do(deployment: Deployment) -> None:
    def duties() -> dict[str, str]:
        found = deployment.kubectl.get("pods", "--selector=synfire.dev/pool")["items"]
        return {each["metadata"]["name"]: each["metadata"]["labels"].get("synfire.dev/duty", "") for each in found}

    hosts = {each["worker"] for each in deployment.stages()}
    until(lambda: duties() == dict.fromkeys(hosts, "host") | {SPARE: "spare"})
    one = deployment.stages()[0]
    told = deployment.kubectl.get("pod", one["worker"])["metadata"]["annotations"]["synfire.dev/hosts"]
    assert one["name"] in told


MISTAKES = {
    "tpu": ("SynfirePool", {"device": "tpu"}, "UnknownDevice", "use one of cpu, darwin3, cuda, or name the resource"),
    "npu": ("SynfireModel", {"device": "npu"}, "UnknownDevice", "use one of cpu, cuda, darwin3"),
    "typo": ("SynfireModel", {"source": "svg-digits"}, "LoadFailed", "svg-digits"),
    "twin": ("SynfireModel", {"servedName": "digits"}, "NameTaken", "give this one another servedName"),
    "nowhere": ("SynfirePool", {"image": NOWHERE, **SMALL}, "ImagePull", "mend its name, or the registry's access"),
}


def test_mistakes_are_told_with_their_cure_and_harm_no_other_object(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    with calling(deployment, "five wrong objects"):
        kubectl.apply(*(resource(kind, name, **spec) for name, (kind, spec, _, _) in MISTAKES.items()))
        for name, (kind, _, reason, cure) in MISTAKES.items():
            until(lambda kind=kind, name=name, reason=reason: ready(kubectl, kind, name)["reason"] == reason)
            assert cure in ready(kubectl, kind, name)["message"]
            until(lambda name=name, reason=reason: ("Warning", reason) in events(kubectl, name))
        kubectl("delete", "sfp", "tpu", "nowhere")
        kubectl("delete", "sfm", "npu", "typo", "twin")


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
    controller: Kubectl, administrator: Kubectl, kubectl: Kubectl
) -> None:
    with lacking(administrator, "jobs"):
        kubectl.apply(resource("SynfireCache", "store", models=[MODEL]))
        until(lambda: ready(kubectl, "sfc", "store")["reason"] == "MissingPermission")
        assert 'cannot create resource "jobs"' in ready(kubectl, "sfc", "store")["message"]
        until(lambda: ("Warning", "MissingPermission") in events(kubectl, "store"))
    kubectl("delete", "sfc", "store")


def test_a_pod_that_hosts_a_stage_is_deleted_under_load(deployment: Deployment) -> None:
    pod, _ = deployment.hosting()
    with calling(deployment, "kubectl delete pod"):
        deployment.kubectl("delete", "pod", pod)
    until(deployment.relieved)


def test_a_container_that_hosts_a_stage_is_killed_under_load_and_the_model_tells_of_it(deployment: Deployment) -> None:
    name, node = deployment.hosting()
    pod = deployment.kubectl.get("pod", name)
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with calling(deployment, "SIGKILL to all of a container"):
        deployment.cluster.nodes[node].kill(pod)
        until(lambda: name not in deployment.members())
        until(lambda: deployment.recovery()["at"] >= began)
    until(deployment.relieved)
    told = deployment.recovery()
    print(f"the model tells of {told['cause']}, {told['outcome']} within {told['milliseconds']} ms")


def test_the_controller_that_acts_is_killed_and_the_other_one_takes_over_unnoticed_by_callers(
    deployment: Deployment, controller: Kubectl
) -> None:
    def leader() -> str:
        return controller("get", "lease", CONTROLLER, "--output=jsonpath={.spec.holderIdentity}")

    before = leader()
    pods = {each["metadata"]["name"]: each for each in controller.get("pods")["items"]}
    (other,) = (each for each in pods if each != before)
    with calling(deployment, "the controller that acts killed"):
        began_s = time.monotonic()
        deployment.cluster.nodes[pods[before]["spec"]["nodeName"]].kill(pods[before])
        controller("delete", "pod", before, "--force", "--grace-period=0")
        until(lambda: leader() == other)
        print(f"the other one held the lease {time.monotonic() - began_s:.1f} s later")


def test_a_node_that_hosts_a_stage_is_cut_off_under_load(deployment: Deployment) -> None:
    pod, node = deployment.hosting()
    with calling(deployment, "a node's cable pulled") as callers:
        deployment.cluster.nodes[node].cut()
        until(lambda: pod not in deployment.members())
        callers.go_on()
        deployment.cluster.nodes[node].mend()
    until(deployment.relieved)


def test_a_pool_grows_and_shrinks_under_load(deployment: Deployment) -> None:
    with calling(deployment, "kubectl scale sfp/hosts --replicas=3"):
        deployment.scale(3)
    with calling(deployment, "kubectl scale sfp/hosts --replicas=2"):
        deployment.scale(2)


def test_another_model_comes_is_doubled_rests_and_goes_under_load(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    with calling(deployment, "another model served, doubled, unloaded and deleted"):
        kubectl.apply(resource("SynfireModel", "whole", source=MODEL, granularity="model"))
        kubectl("wait", "--for=condition=Ready", "sfm/whole", "--timeout=120s")
        kubectl("scale", "sfm/whole", "--replicas=2")
        until(lambda: deployment.status("sfm", "whole").get("replicasReady") == 2)
        assert {each["worker"] for each in deployment.status("sfm", "whole")["stages"]} == {
            "synfire-hosts-0",
            "synfire-hosts-1",
        }
        kubectl("scale", "sfm/whole", "--replicas=0")
        until(lambda: deployment.status("sfm", "whole")["phase"] == "Unloaded")
        kubectl("delete", "sfm", "whole")


def test_stages_leave_a_node_that_is_cordoned_and_come_back_when_it_takes_pods_again(deployment: Deployment) -> None:
    pod, node = deployment.hosting()
    with calling(deployment, "kubectl cordon, and uncordon") as callers:
        deployment.kubectl("cordon", node)
        until(lambda: node not in {each["node"] for each in deployment.stages()})
        until(lambda: deployment.members().get(pod, {}).get("role") == "spare")
        callers.go_on(50)
        assert node not in {each["node"] for each in deployment.stages()}
        deployment.kubectl("uncordon", node)


def test_a_node_that_hosts_a_stage_is_drained_under_load(deployment: Deployment) -> None:
    _, node = deployment.hosting()
    with calling(deployment, "kubectl drain"):
        drain(deployment.kubectl, node)


def test_a_model_that_is_deleted_is_gone_and_everything_goes_with_the_last_object(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    assert httpx.get(f"{deployment.url}/v2/models/digits", headers=authorization()).status_code == 200
    kubectl("delete", "sfm", "digits")
    assert httpx.get(f"{deployment.url}/v2/models/digits", headers=authorization()).status_code == 404
    until(lambda: "digits" not in kubectl("get", "services", "--output=name"))
    kubectl("delete", "sfp", "--all")
    ours = "--selector=app.kubernetes.io/managed-by=synfire-controller"
    until(lambda: kubectl("get", MADE, ours, "--output=name") == "")
    until(lambda: kubectl("get", "pods", "--output=name") == "")
    assert kubectl("get", "secret", "synfire-keys", "--output=name") == "secret/synfire-keys\n"
