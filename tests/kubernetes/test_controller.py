"""The controller brings a namespace to what its objects ask for, whatever happens on the way."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import MOST_ROUNDS, World, applied, resource, told, world  # beside this file, which is imported by its path

from synfire.base.errors import UserError
from synfire.kubernetes.cluster.api import Api
from synfire.kubernetes.controller.decide import FINALIZER, decide
from synfire.kubernetes.controller.decision import Ask, Delete
from synfire.kubernetes.controller.deployment import (
    Call,
    Deployed,
    Drain,
    Load,
    PutChain,
    Recovered,
    ServedChain,
    Told,
    Unload,
)
from synfire.kubernetes.controller.models import newest
from synfire.kubernetes.controller.observed import Document, Observed, Settings
from synfire.kubernetes.manifests.controller import KEYS, OF_CLUSTER, RIGHTS
from synfire.testing.fake_kubernetes import Asked, Refusal

POOL = resource("SynfirePool", "hosts", count=2)
SPARES = resource("SynfirePool", "spares", role="spares", count=1)
MODEL = resource("SynfireModel", "svgg-digits", granularity="operator")
CHAIN = resource(
    "SynfirePipeline",
    "read-digit",
    steps={"read": {"model": "svgg-digits", "inputs": {"input": "request.picture"}}},
    outputs={"scores": "read.output"},
)
CACHE = resource("SynfireCache", "store", size="1Gi", models=["svgg-digits", "hf://org/repo"])


def test_a_model_and_a_pool_become_a_deployment_that_serves() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        sets = {each["metadata"]["name"]: each["spec"]["replicas"] for each in here.server.all("statefulsets")}
        assert sets == {"synfire": 1, "synfire-hosts": 2}
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"
        status = here.server.get("synfiremodels", "svgg-digits")["status"]
        assert (status["phase"], status["stageCount"], status["profile"]) == ("Ready", 2, "cpu")
        assert [each["worker"] for each in status["stages"]] == ["synfire-hosts-0", "synfire-hosts-1"]
        assert [each["node"] for each in status["stages"]] == ["node-1", "node-1"]
        assert status["url"] == "http://synfire.default.svc:8000/v2/models/svgg-digits"

    told(story)


def test_the_deployment_is_told_once_that_all_models_were_asked_for_and_not_before_they_were() -> None:
    async def story(here: World) -> None:
        here.deployment.told = False
        wrong = resource("SynfireModel", "wrong", device="abacus")
        await applied(here, POOL, MODEL, resource("SynfireModel", "other"), wrong)
        asked = [type(each).__name__ for each in here.deployment.calls]
        assert asked == ["Load", "Load", "Told"]
        assert here.deployment.calls[-1] == Told(("other", "svgg-digits"))
        await here.settle()
        assert len(here.deployment.calls) == 3
        here.deployment.told, here.deployment.models = False, {}  # it has begun anew, on an empty disk
        await here.settle()
        assert [type(each).__name__ for each in here.deployment.calls[3:]] == ["Load", "Load", "Told"]

    told(story)


def test_a_rate_is_asked_for_as_it_is_written_and_not_at_all_where_it_is_not() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL, resource("SynfireModel", "busy", rate=20))
        assert here.deployment.models["busy"].request["rate"] == 20.0
        assert "rate" not in here.deployment.models["svgg-digits"].request
        await here.settle()
        assert len([each for each in here.deployment.calls if isinstance(each, Load)]) == 2
        await applied(here, resource("SynfireModel", "wrong", rate=0))
        assert here.condition("synfiremodels", "wrong", "Accepted")["reason"] == "InvalidSpec"

    told(story)


def test_the_service_of_a_stage_that_sleeps_leads_nowhere_and_its_pod_hosts_the_others_alone() -> None:
    async def story(here: World) -> None:
        stages = {"fc1": {"least": 0, "most": 1, "idleSeconds": 60}}
        await applied(here, POOL, resource("SynfireModel", "svgg-digits", stages=stages))
        served = here.deployment.models["svgg-digits"]
        assert served.request["stages"] == {"fc1": {"least": 0, "most": 1, "idle_s": 60.0}}
        left = tuple(replace(each, worker="" if each.name == "fc1" else each.worker) for each in served.stages)
        asleep = replace(served, state="asleep", reason="fc1 left its worker", stages=left)
        here.deployment.models["svgg-digits"] = asleep
        await here.settle()
        ready = here.condition("synfiremodels", "svgg-digits")
        assert (ready["status"], ready["reason"], ready["message"]) == ("True", "Asleep", "fc1 left its worker")
        assert not here.server.get("endpoints", "svgg-digits--fc1")["subsets"]
        assert not here.server.get("pods", "synfire-hosts-1")["metadata"]["annotations"].get("synfire.dev/hosts")
        here.deployment.models["svgg-digits"] = served
        await here.settle()
        assert here.server.get("endpoints", "svgg-digits--fc1")["subsets"]

    told(story)


def test_a_further_model_is_asked_for_in_the_first_round() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL)
        here.server.put(MODEL)
        await here.round()
        assert [each.model for each in here.deployment.calls if isinstance(each, Load)] == ["svgg-digits"]
        assert FINALIZER in here.server.get("synfiremodels", "svgg-digits")["metadata"]["finalizers"]

    told(story)


@pytest.mark.parametrize(("code", "reason"), [(409, "Conflict"), (404, "NotFound"), (403, "Forbidden")])
def test_nothing_is_asked_for_an_object_that_could_go_unnoticed(code: int, reason: str) -> None:
    async def story(here: World) -> None:
        def refuse(asked: Asked) -> None:
            if (asked.verb, asked.resource) == ("update", "synfiremodels"):
                raise Refusal(code, reason, "somebody else was here")

        await applied(here, POOL)
        here.server.put(MODEL)
        here.server.refuse = refuse
        await here.round()
        assert not [each for each in here.deployment.calls if isinstance(each, Load)]
        here.server.refuse = lambda asked: None
        await here.settle()
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"

    told(story)


def test_each_stage_is_a_service_that_leads_to_its_worker_and_follows_it() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        (address,) = here.server.get("endpoints", "svgg-digits--fc1")["subsets"][0]["addresses"]
        assert (address["targetRef"]["name"], address["nodeName"]) == ("synfire-hosts-1", "node-1")
        service = here.server.get("services", "svgg-digits--fc1")
        assert (service["spec"]["clusterIP"], "selector" in service["spec"]) == ("None", False)
        assert service["metadata"]["annotations"]["synfire.dev/path"] == "/v2/models/svgg-digits.fc1"
        pod = here.server.get("pods", "synfire-hosts-1")["metadata"]
        assert pod["labels"]["synfire.dev/duty"] == "host"
        assert pod["annotations"]["synfire.dev/hosts"] == "svgg-digits.fc1"
        served = here.deployment.models["svgg-digits"]
        moved = tuple(replace(each, worker="synfire-hosts-0") for each in served.stages)
        here.deployment.models["svgg-digits"] = replace(served, stages=moved)
        await here.settle()
        (address,) = here.server.get("endpoints", "svgg-digits--fc1")["subsets"][0]["addresses"]
        assert address["targetRef"]["name"] == "synfire-hosts-0"
        pod = here.server.get("pods", "synfire-hosts-1")["metadata"]
        assert pod["labels"]["synfire.dev/duty"] == "spare"
        assert "synfire.dev/hosts" not in pod["annotations"]

    told(story)


def test_what_is_deleted_is_unloaded_first_and_the_last_object_takes_everything_along() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        here.server.delete("synfiremodels", "svgg-digits")
        assert "deletionTimestamp" in here.server.get("synfiremodels", "svgg-digits")["metadata"]
        await here.settle()
        assert here.deployment.calls[-1] == Unload("svgg-digits")
        assert here.server.all("synfiremodels") == []
        assert [each["metadata"]["name"] for each in here.server.all("statefulsets")] == ["synfire", "synfire-hosts"]
        assert not [each for each in here.server.all("services") if "--" in each["metadata"]["name"]]
        here.server.delete("synfirepools", "hosts")
        await here.settle()
        assert {name: found for name, found in here.content().items() if found} == {}

    told(story)


def test_nobody_waits_for_a_deployment_that_goes_as_a_whole() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        here.deployment.up = False
        here.server.delete("synfirepools", "hosts")
        here.server.delete("synfiremodels", "svgg-digits")
        await here.round()
        assert here.server.all("synfiremodels") == []

    told(story)


@pytest.mark.parametrize(
    ("document", "reason", "cure"),
    [
        (resource("SynfireModel", "bad", device="tpu"), "UnknownDevice", "use one of cpu, cuda, darwin3"),
        (resource("SynfireModel", "bad", device="darwin3"), "NoPool", "make one"),
        (resource("SynfireModel", "twin", servedName="svgg-digits"), "NameTaken", "give this one another servedName"),
        (resource("SynfireModel", "bad", replicas="two"), "InvalidSpec", "kubectl explain synfiremodels.spec"),
        (resource("SynfireModel", "bad", source="/etc/passwd"), "InvalidSpec", "is named, and no path"),
        (resource("SynfireModel", "bad", scale={"most": 2, "least": 3}), "InvalidSpec", "ask for 0 or more"),
        (resource("SynfireModel", "bad", stages={"a": {"most": 2, "least": 3}}), "InvalidSpec", "ask for 0 or more"),
        (resource("SynfirePool", "bad", device="tpu"), "UnknownDevice", "name the resource"),
        (resource("SynfirePool", "bad", cache="none"), "NoCache", "make it, or leave cache out"),
        (resource("SynfirePool", "b" * 31), "NameTooLong", "make one with a shorter name"),
        (
            resource("SynfirePool", "bad", autoscale={"most": 2, "target": "500m"}),
            "InvalidSpec",
            "write one, or name a metric",
        ),
        (resource("SynfirePool", "bad", memory="10"), "InvalidSpec", "write it like 512Mi or 2Gi"),
        (resource("SynfirePool", "bad", autoscale={"most": 2, "least": 3}), "InvalidSpec", "write one that is not"),
        (resource("SynfirePool", "bad", resource="a.b/c"), "InvalidSpec", "name the device, or leave it out"),
        (resource("SynfirePipeline", "bad", steps={}, outputs={}), "InvalidChain", "write [steps.NAME]"),
        (resource("SynfirePipeline", "bad", steps={"a": {}}, outputs={"x": "a"}), "InvalidChain", "one of model"),
    ],
    ids=lambda each: each if isinstance(each, str) and each.isalpha() else "",
)
def test_a_mistake_is_told_with_its_cure_and_harms_no_other_object(document: Document, reason: str, cure: str) -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        await applied(here, document)
        plural, name = f"{document['kind'].lower()}s", document["metadata"]["name"]
        accepted = here.condition(plural, name, "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("False", reason)
        assert cure in accepted["message"]
        (event,) = {each["message"] for each in here.server.all("events") if each["involvedObject"]["name"] == name}
        assert event == accepted["message"]
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"

    told(story)


def test_a_model_that_does_not_exist_is_refused_once_and_asked_for_again_when_it_is_mended() -> None:
    async def story(here: World) -> None:
        def refuse(call: Call) -> None:
            if isinstance(call, Load) and call.request["source"] == "svg-digits":
                attempts.append(call)
                raise UserError("there is no model named 'svg-digits'; known: svgg-digits")

        attempts: list[Call] = []
        here.deployment.refuse = refuse
        await applied(here, POOL, MODEL, resource("SynfireModel", "other", source="svg-digits"))
        ready = here.condition("synfiremodels", "other")
        assert (ready["status"], ready["message"]) == (
            "False",
            "there is no model named 'svg-digits'; known: svgg-digits",
        )
        assert len(attempts) == 1
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"
        await applied(here, resource("SynfireModel", "other", source="svgg-digits"))
        assert here.condition("synfiremodels", "other")["status"] == "True"

    told(story)


def waiting(reason: str, message: str = "") -> Document:
    return {
        "image": "r.example/no:1",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    }


def ended(code: int, words: str, reason: str = "Error", restarts: int = 5) -> Document:
    last = {"terminated": {"exitCode": code, "reason": reason, "message": words}}
    back_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {"image": "i", "ready": False, "restartCount": restarts, "state": back_off, "lastState": last}


@pytest.mark.parametrize(
    ("status", "reason", "cure"),
    [
        (waiting("ImagePullBackOff", "not found"), "ImagePull", "mend its name, or the registry's access"),
        (waiting("CreateContainerConfigError", "no secret"), "BadConfiguration", "mend what it names"),
        (ended(3, "OSError: No space left on device"), "VolumeFull", "make it larger, or free some"),
        (ended(3, "cannot write /x: no space left there; free some"), "VolumeFull", "is full: cannot write"),
        (waiting("CreateContainerConfigError", "mkdir: no space left on device"), "VolumeFull", "or free some"),
        (ended(137, "", "OOMKilled", 1), "OutOfMemory", "raise the pool's memory"),
        (ended(2, "error: there is no device"), "KeepsEnding", "kubectl logs synfire-hosts-0 --previous"),
    ],
    ids=lambda each: each if isinstance(each, str) and each.isalpha() else "",
)
def test_what_keeps_a_pod_from_running_is_told_with_its_cure(status: Document, reason: str, cure: str) -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        pod = here.server.get("pods", "synfire-hosts-0")
        pod["status"] |= {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [status]}
        here.server.put(pod)
        await here.settle()
        ready = here.condition("synfirepools", "hosts")
        assert (ready["status"], ready["reason"]) == ("False", reason)
        assert cure in ready["message"]
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"

    told(story)


@pytest.mark.parametrize(
    ("said", "reason", "cure"),
    [
        ("0/2 nodes", "Unschedulable", "0/2 nodes; add nodes, or ask for less"),
        ('persistentvolumeclaim "a" not found', "NoVolume", '"a" not found; make it, or name another one'),
        ("pod has unbound immediate PersistentVolumeClaims.", "NoVolume", "or make a PersistentVolume"),
        ("2 node(s) didn't find available persistent volumes to bind.", "NoVolume", "name a storageClassName"),
    ],
)
def test_a_pod_that_no_node_takes_says_what_to_ask_less_of_or_to_make(said: str, reason: str, cure: str) -> None:
    async def story(here: World) -> None:
        await applied(here, POOL)
        pod = here.server.get("pods", "synfire-hosts-0")
        unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
        here.server.put({**pod, "status": {"conditions": [unplaced]}})
        await here.settle()
        ready = here.condition("synfirepools", "hosts")
        assert (ready["reason"], cure in ready["message"]) == (reason, True)

    told(story)


def test_a_missing_permission_is_told_and_used_as_soon_as_it_is_granted() -> None:
    async def story(here: World) -> None:
        def refuse(asked: Asked) -> None:
            if (asked.verb, asked.resource) == ("create", "statefulsets"):
                raise Refusal(403, "Forbidden", "statefulsets.apps is forbidden: cannot create")

        here.server.refuse = refuse
        for each in (POOL, MODEL):
            here.server.put(each)
        for _ in range(4):
            await here.round()
        ready = here.condition("synfirepools", "hosts")
        assert (ready["reason"], "grant the controller's ServiceAccount that right" in ready["message"]) == (
            "MissingPermission",
            True,
        )
        assert "the serving Pod cannot be made" in here.condition("synfiremodels", "svgg-digits")["message"]
        here.server.refuse = lambda asked: None
        await here.settle()
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"

    told(story)


def test_a_controller_that_may_not_see_everything_says_so_and_what_to_grant() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        blind = replace(await here.observed(), unseen="pods is forbidden", deployed=None)
        await here.hands.carry_out(decide(blind), lambda: True)
        ready = here.condition("synfiremodels", "svgg-digits")
        assert ready["reason"] == "MissingPermission"
        assert "pods is forbidden; grant the controller's ServiceAccount that right" in ready["message"]

    told(story)


def test_what_somebody_changes_is_put_right_and_what_is_not_ours_stays() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        before = here.content()
        found = here.server.get("statefulsets", "synfire-hosts")
        found["spec"]["replicas"] = 7
        found["metadata"]["annotations"]["somebody"] = "was here"
        here.server.put(found)
        here.server.delete("services", "synfire-join")
        await here.settle()
        assert here.content() == before
        assert here.server.get("statefulsets", "synfire-hosts")["metadata"]["annotations"]["somebody"] == "was here"

    told(story)


def test_what_kubernetes_keeps_for_our_services_under_their_labels_is_not_ours() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        service = here.server.get("services", "synfire")
        metadata = {each: service["metadata"][each] for each in ("name", "namespace", "labels")}
        here.server.put({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": []})
        assert await here.round() == 0
        assert here.server.get("endpoints", "synfire")["metadata"]["labels"] == service["metadata"]["labels"]

    told(story)


def test_a_spec_that_changes_is_followed_and_one_that_is_the_same_asks_for_nothing() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        calls = len(here.deployment.calls)
        assert await here.round() == 0
        assert len(here.deployment.calls) == calls
        await applied(
            here, resource("SynfireModel", "svgg-digits", replicas=3), resource("SynfirePool", "hosts", count=4)
        )
        assert here.deployment.calls[-1] == Load("svgg-digits", here.deployment.models["svgg-digits"].request)
        assert here.server.get("synfiremodels", "svgg-digits")["status"]["replicas"] == 3
        assert here.server.get("statefulsets", "synfire-hosts")["spec"]["replicas"] == 4
        await applied(here, resource("SynfireModel", "svgg-digits", replicas=0))
        assert here.deployment.models == {}
        assert here.server.get("synfiremodels", "svgg-digits")["status"]["phase"] == "Unloaded"

    told(story)


def test_stages_leave_a_node_that_is_being_emptied_and_its_workers_are_spares_until_it_takes_pods_again() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        here.server.put(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {"unschedulable": True}}
        )
        await here.settle()
        once = [Drain("synfire-hosts-0"), Drain("synfire-hosts-1")]
        assert [each for each in here.deployment.calls if isinstance(each, Drain)] == once
        assert here.server.get("pods", "synfire-hosts-0")["metadata"]["annotations"]["synfire.dev/joins-as"] == "spare"
        here.server.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {}})
        await here.settle()
        annotations = here.server.get("pods", "synfire-hosts-0")["metadata"]["annotations"]
        assert "synfire.dev/drained" not in annotations
        assert annotations["synfire.dev/joins-as"] == "host"
        assert [each for each in here.deployment.calls if isinstance(each, Drain)] == [*once, *once]

    told(story)


def test_pods_of_a_lost_node_that_nobody_reaches_are_deleted_without_waiting_for_it() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL, node("node-2"))
        before = here.server.get("pods", "synfire-hosts-1")["metadata"]["uid"]
        here.server.put(node("node-1", ready="Unknown"))
        assert await here.round() == 0  # Kubernetes alone does not reach it
        here.deployment.silent = {"synfire-hosts-1"}
        await here.round()
        assert {each["metadata"]["name"] for each in here.server.all("pods")} == {"synfire-0", "synfire-hosts-0"}
        (event,) = (each for each in here.server.all("events") if each["reason"] == "NodeLost")
        assert event["involvedObject"]["name"] == "synfire-hosts-1"
        assert event["message"].startswith("node node-1 does not answer Kubernetes, and Pod synfire-hosts-1 nobody")
        here.deployment.silent = set()
        await here.settle()
        assert here.server.get("pods", "synfire-hosts-1")["metadata"]["uid"] != before

    told(story)


def test_the_serving_pod_of_a_lost_node_is_deleted_when_it_was_asked_in_vain_and_workers_wait_for_it() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL, node("node-2"), node("node-1", ready="Unknown"))
        here.deployment.silent = {"synfire-hosts-0", "synfire-hosts-1"}
        unasked = replace(await here.observed(), deployed=None)
        assert deleted(unasked) == []
        assert deleted(replace(unasked, silence="no route to host", unseen="pods is forbidden")) == []
        assert deleted(replace(unasked, silence="no route to host")) == ["synfire-0"]

    told(story)


def test_nothing_is_deleted_where_all_nodes_are_lost_or_one_says_that_it_is_not_ready() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL, node("node-1", ready="Unknown"), node("node-2", ready="Unknown"))
        here.deployment.silent = {"synfire-hosts-0"}
        assert deleted(await here.observed()) == []
        here.server.put(node("node-2"))
        assert deleted(await here.observed()) == ["synfire-hosts-0"]
        here.server.put(node("node-1", ready="False"))
        assert deleted(await here.observed()) == []

    told(story)


def node(name: str, ready: str = "True") -> Document:
    """A node, and what Kubernetes knows of how it is."""
    status = {"conditions": [{"type": "MemoryPressure", "status": "Unknown"}, {"type": "Ready", "status": ready}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status}


def deleted(observed: Observed) -> list[str]:
    """The Pods that would be deleted without waiting for their nodes."""
    return [each.key.name for each in decide(observed) if isinstance(each, Delete) and each.at_once]


def test_a_pipeline_becomes_a_chain_and_goes_with_its_object() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL, CHAIN)
        (put,) = (each for each in here.deployment.calls if isinstance(each, PutChain))
        assert put.content == CHAIN["spec"]
        status = here.server.get("synfirepipelines", "read-digit")["status"]
        assert (status["phase"], status["models"]) == ("Ready", ["svgg-digits"])
        here.server.delete("synfirepipelines", "read-digit")
        await here.settle()
        assert here.deployment.chains == {}
        assert here.server.all("synfirepipelines") == []

    told(story)


def test_a_chain_that_does_not_fit_says_so_in_the_words_of_the_deployment() -> None:
    async def story(here: World) -> None:
        def refuse(call: Call) -> None:
            if isinstance(call, PutChain):
                raise UserError("step 'read': misses ['input']")

        here.deployment.refuse = refuse
        await applied(here, POOL, MODEL, CHAIN)
        status = here.server.get("synfirepipelines", "read-digit")["status"]
        words = [(each["status"], each["message"]) for each in status["conditions"]]
        assert (status["phase"], words) == ("Failed", [("False", "step 'read': misses ['input']")] * 2)

    told(story)


def test_a_chain_that_calls_what_nobody_asks_for_says_so_with_an_event() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, CHAIN)
        here.deployment.chains["read-digit"] = ServedChain("read-digit", CHAIN["spec"], False, "step 'read' waits")
        await here.settle()
        ready = here.condition("synfirepipelines", "read-digit")
        words = "no SynfireModel of this namespace is served as svgg-digits; make one, or call another one: step 'read' waits"
        assert (ready["reason"], ready["message"]) == ("NoModel", words)
        assert "NoModel" in {each["reason"] for each in here.server.all("events")}
        here.deployment.chains["read-digit"] = ServedChain("read-digit", CHAIN["spec"], True)
        await applied(here, MODEL)
        assert here.condition("synfirepipelines", "read-digit")["status"] == "True"

    told(story)


@pytest.mark.parametrize(
    ("failed", "reason", "phase"), [(True, "InvalidChain", "Failed"), (False, "ModelsNotReady", "Pending")]
)
def test_a_chain_tells_what_the_deployment_says_of_it(failed: bool, reason: str, phase: str) -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL, CHAIN)
        here.deployment.chains["read-digit"] = ServedChain("read-digit", CHAIN["spec"], False, "the reason", failed)
        await here.settle()
        status = here.server.get("synfirepipelines", "read-digit")["status"]
        ready = next(each for each in status["conditions"] if each["type"] == "Ready")
        assert (status["phase"], ready["reason"], ready["message"]) == (phase, reason, "the reason")

    told(story)


def test_a_cache_is_warmed_before_the_deployment_serves_from_it() -> None:
    async def story(here: World) -> None:
        await applied(here, CACHE, MODEL, resource("SynfirePool", "hosts", cache="store"))
        assert here.condition("synfirecaches", "store")["reason"] == "Warming"
        names = [each["metadata"]["name"] for each in here.server.all("statefulsets")]
        assert names == ["synfire-hosts"]
        assert "when SynfireCache store is warm" in here.condition("synfiremodels", "svgg-digits")["message"]
        (job,) = here.server.all("jobs")
        pod = job["spec"]["template"]["spec"]
        assert [each["command"] for each in (*pod["initContainers"], *pod["containers"])] == [
            ["synfire", "build", "svgg-digits", "--must-keep"],
            ["synfire", "pull", "hf://org/repo"],
        ]
        here.server.put({**job, "status": {"succeeded": 1}})
        await here.settle()
        serving = here.server.get("statefulsets", "synfire")["spec"]["template"]["spec"]
        assert {"name": "cache", "persistentVolumeClaim": {"claimName": "synfire-store"}} in serving["volumes"]
        assert here.server.get("synfirecaches", "store")["status"]["phase"] == "Ready"
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"

    told(story)


def test_what_fetches_a_cache_s_models_has_the_variables_of_its_secret_and_another_one_is_another_try() -> None:
    async def story(here: World) -> None:
        await applied(here, CACHE)
        (first,) = here.server.all("jobs")
        assert "envFrom" not in first["spec"]["template"]["spec"]["containers"][0]
        await applied(here, resource("SynfireCache", "store", **CACHE["spec"], secret="hub"))
        (job,) = here.server.all("jobs")
        assert job["metadata"]["name"] != first["metadata"]["name"]
        pod = job["spec"]["template"]["spec"]
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["envFrom"] == [{"secretRef": {"name": "hub"}}]
            assert {each["name"] for each in container["env"]} == {"SYNFIRE_HOME", "SYNFIRE_CACHE", "SYNFIRE_LOG"}

    told(story)


def test_a_cache_that_comes_later_begins_no_serving_pod_anew() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        before = here.server.get("statefulsets", "synfire")
        await applied(here, resource("SynfireCache", "store"), resource("SynfirePool", "hosts", count=2, cache="store"))
        assert here.server.get("statefulsets", "synfire") == before
        hosts = here.server.get("statefulsets", "synfire-hosts")["spec"]["template"]["spec"]["volumes"]
        assert {"name": "cache", "persistentVolumeClaim": {"claimName": "synfire-store"}} in hosts

    told(story)


def test_a_cache_that_cannot_be_warmed_says_why_and_the_deployment_begins_without() -> None:
    async def story(here: World) -> None:
        await applied(here, CACHE, MODEL, POOL)
        (job,) = here.server.all("jobs")
        name = job["metadata"]["name"]
        here.server.put({**job, "status": {"failed": 4, "conditions": [{"type": "Failed", "status": "True"}]}})
        metadata = {"name": f"{name}-x", "namespace": "default"}
        metadata["labels"] = {**job["spec"]["template"]["metadata"]["labels"], "job-name": name}
        status = {"containerStatuses": [ended(3, "No space left on device")]}
        here.server.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
        observed = await here.observed()
        await here.hands.carry_out(decide(observed), lambda: True)
        ready = here.condition("synfirecaches", "store")
        assert ready["reason"] == "VolumeFull"
        assert f"delete the Job {name}, and it is tried again" in ready["message"]
        serving = here.server.get("statefulsets", "synfire")["spec"]["template"]["spec"]["volumes"]
        # a store on a full disk would end it again and again
        assert not any("persistentVolumeClaim" in each for each in serving)

    told(story)


def test_a_cache_of_which_one_model_cannot_be_had_says_what_was_said_and_is_served_from() -> None:
    async def story(here: World) -> None:
        await applied(here, CACHE, MODEL, POOL)
        (job,) = here.server.all("jobs")
        here.server.put({**job, "status": {"failed": 4, "conditions": [{"type": "Failed", "status": "True"}]}})
        for number, words in enumerate(("the first try", "the last try")):
            labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": job["metadata"]["name"]}
            metadata = {"name": f"warm-{number}", "namespace": "default", "labels": labels}
            ended = {"exitCode": 2, "message": words, "finishedAt": f"2026-01-01T00:00:0{number}Z"}
            status = {"initContainerStatuses": [{"state": {"terminated": ended}}]}
            here.server.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
        await here.hands.carry_out(decide(await here.observed()), lambda: True)
        ready = here.condition("synfirecaches", "store")
        assert ready["reason"] == "WarmingFailed"
        assert "it could not be warmed: the last try; then delete the Job" in ready["message"]
        serving = here.server.get("statefulsets", "synfire")["spec"]["template"]["spec"]["volumes"]
        assert any("persistentVolumeClaim" in each for each in serving)

    told(story)


def test_what_keeps_the_serving_pod_from_running_is_told_of_models_with_an_event() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        here.deployment.up = False
        pod = here.server.get("pods", "synfire-0")
        pod["status"] |= {"conditions": [], "containerStatuses": [ended(3, "no space left there; free some")]}
        here.server.put(pod)
        await here.round()
        ready = here.condition("synfiremodels", "svgg-digits")
        assert ready["reason"] == "VolumeFull"
        assert "the serving Pod does not run: a volume of Pod synfire-0 is full" in ready["message"]
        events = {(each["involvedObject"]["name"], each["reason"]) for each in here.server.all("events")}
        assert ("svgg-digits", "VolumeFull") in events

    told(story)


def test_a_claim_stays_where_its_cache_says_so() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, resource("SynfireCache", "kept", keep=True), resource("SynfireCache", "lost"))
        for name in ("kept", "lost"):
            here.server.delete("synfirecaches", name)
        await here.settle()
        assert [each["metadata"]["name"] for each in here.server.all("persistentvolumeclaims")] == ["synfire-kept"]

    told(story)


def test_a_slip_of_the_pen_ends_nothing_that_works() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        before = here.content()["statefulsets"], here.content()["endpoints"]
        await applied(here, resource("SynfirePool", "hosts", count=2, device="gpu"))
        await applied(here, resource("SynfireModel", "svgg-digits", device="gpu"))
        assert (here.content()["statefulsets"], here.content()["endpoints"]) == before
        assert "svgg-digits" in here.deployment.models

    told(story)


def test_a_model_tells_of_its_last_failure_and_of_no_move_that_somebody_asked_for() -> None:
    def recovered(at_s: float, cause: str, outcome: str) -> Recovered:
        return Recovered(at_s, cause, outcome, ("svgg-digits",), 0.05)

    told = (
        recovered(3, "rebalance of b", "moved"),
        recovered(2, "exit of a", "recovered"),
        recovered(1, "hang of a", "failed"),
    )
    found = newest(Observed("default", Settings("i"), "", deployed=Deployed(recoveries=told)))
    assert {model: each.cause for model, each in found.items()} == {"svgg-digits": "exit of a"}


def test_a_model_whose_chips_are_gone_says_so_by_a_condition_with_one_event_and_again_when_it_is_back() -> None:
    async def story(here: World) -> None:
        def events(reason: str) -> list[str]:
            return [each["message"] for each in here.server.all("events") if each["reason"] == reason]

        def elsewhere() -> Document:
            return here.condition("synfiremodels", "digits", "OnItsDevice")

        chips = resource("SynfirePool", "chips", count=1, device="darwin3")
        await applied(here, POOL, chips, MODEL, resource("SynfireModel", "digits", device="darwin3"))
        served = here.deployment.models["digits"]
        assert elsewhere()["status"] == "True"
        assert not events("AsPlanned")
        unlike = ("digits.fc0 runs on cpu in place of darwin3",)
        here.deployment.models["digits"] = replace(served, state="degraded", reason="98.5 %", unlike=unlike)
        await here.settle()
        assert (elsewhere()["status"], elsewhere()["reason"]) == ("False", "OnAnotherDevice")
        assert here.condition("synfiremodels", "digits")["status"] == "True"
        here.deployment.models["digits"] = replace(served, state="degraded", reason="98.6 %", unlike=unlike)
        await here.settle()
        (message,) = events("OnAnotherDevice")
        assert message.startswith(
            "digits.fc0 runs on cpu in place of darwin3: no worker has that device free; it goes back"
        )
        here.deployment.models["digits"] = served
        await here.settle()
        assert elsewhere()["status"] == "True"
        assert len(events("AsPlanned")) == 1
        conditions = here.server.get("synfiremodels", "svgg-digits")["status"]["conditions"]
        assert "OnItsDevice" not in [each["type"] for each in conditions]

    told(story)


def test_a_status_leaves_out_what_says_nothing() -> None:
    def empty(content: Any) -> bool:
        values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
        return content in (None, "") or any(map(empty, values))

    async def story(here: World) -> None:
        await applied(here, POOL, MODEL)
        statuses = [
            here.server.get(*each)["status"] for each in (("synfiremodels", "svgg-digits"), ("synfirepools", "hosts"))
        ]
        assert not any(map(empty, statuses))
        assert statuses[1]["hosting"] == 2

    told(story)


def test_keys_are_drawn_once() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL)
        first = here.server.get("secrets", "synfire-keys")
        await here.fresh_hands().carry_out(decide(await here.observed()), lambda: True)
        assert here.server.get("secrets", "synfire-keys") == first

    told(story)


class Killed(BaseException):
    """The controller is no more."""


class MortalApi(Api):
    """Answers so many calls; at the next one the controller dies, before it or after it was done."""

    def __init__(self, inner: Api, calls: int, after: bool) -> None:
        self._inner = inner
        self._left = calls
        self._after = after

    async def ask(self, method: str, path: str, *rest: Any, **more: Any) -> Document:
        if method != "GET":
            self._left -= 1
        if self._left < 0 and not self._after:
            raise Killed
        found = await self._inner.ask(method, path, *rest, **more)
        if self._left < 0:
            raise Killed
        return found


async def _killed_after(calls: int, after: bool, expected: dict[str, Any]) -> bool:
    """Have a controller die in the midst of its work, and another one go on. Returns whether it died at all."""
    async with world() as here:
        for each in (POOL, SPARES, MODEL, CHAIN):
            here.server.put(each)
        died = False
        api = MortalApi(here.api, calls, after)
        hands = here.fresh_hands(api)
        try:
            for _ in range(MOST_ROUNDS):
                here.begin_pods()
                actions = decide(await here.observed())
                for each in actions:  # one after the other, so that what was done is the same each time
                    await hands.carry_out([each], lambda: True)
        except Killed:
            died = True
        await here.settle()
        assert here.content() == expected, f"killed at call {calls}"
        finalizers = here.server.get("synfiremodels", "svgg-digits")["metadata"]["finalizers"]
        assert finalizers == [FINALIZER]
        return died


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_controller_that_dies_at_any_call_is_followed_by_one_that_ends_at_the_same(after: bool) -> None:
    async def stories() -> int:
        async with world() as here:
            await applied(here, POOL, SPARES, MODEL, CHAIN)
            expected = here.content()
        calls = 0
        while await _killed_after(calls, after, expected):
            calls += 1
        return calls

    assert asyncio.run(stories()) > 25


def test_two_controllers_that_see_the_same_never_undo_each_other() -> None:
    async def story(here: World) -> None:
        for each in (POOL, SPARES, MODEL, CHAIN):
            here.server.put(each)
        one, other = here.fresh_hands(), here.fresh_hands()
        for _ in range(MOST_ROUNDS):
            here.begin_pods()
            actions = decide(await here.observed())
            await asyncio.gather(one.carry_out(actions, lambda: True), other.carry_out(actions, lambda: True))
        written = len([each for each in here.server.asked if each.verb in ("create", "update", "patch", "delete")])
        await here.settle()
        after = [each for each in here.server.asked if each.verb in ("create", "update", "patch", "delete")]
        assert len(after) == written  # there was nothing left to do
        names = [each["metadata"]["name"] for each in here.server.all("statefulsets")]
        assert sorted(names) == ["synfire", "synfire-hosts", "synfire-spares"]
        assert (one.refusals, other.refusals) == ({}, {})

    told(story)


def test_who_may_not_act_does_nothing() -> None:
    async def story(here: World) -> None:
        here.server.put(POOL)
        assert not await here.hands.carry_out(decide(await here.observed()), lambda: False)
        assert here.server.all("statefulsets") == []

    told(story)


def test_what_is_done_takes_the_rights_that_it_is_given_and_no_others() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, SPARES, MODEL, CHAIN)
        scaled = resource("SynfirePool", "hosts", count=2, autoscale={"most": 4})
        here.server.put(scaled)
        observed = await here.observed()
        offers = replace(observed.offers, resource_metrics=True)
        await here.hands.carry_out(decide(replace(observed, offers=offers)), lambda: True)
        scaler = here.server.get("horizontalpodautoscalers", "synfire-hosts")
        assert scaler["spec"]["scaleTargetRef"]["kind"] == "SynfirePool"
        await applied(here, resource("SynfireCache", "kept", keep=True, models=["m"]))
        here.deployment.silent = {"synfire-hosts-0"}
        here.server.put(node("node-2"))
        here.server.put(node("node-1", ready="Unknown"))
        await here.round()
        here.deployment.silent = set()
        here.server.put(node("node-1"))
        here.server.collects = False
        for kind in ("synfiremodels", "synfirepipelines", "synfirepools", "synfirecaches"):
            for each in here.server.all(kind):
                here.server.delete(kind, each["metadata"]["name"])
        await here.settle()

        used = {(each.group, each.resource, each.verb) for each in here.server.asked}
        given = {
            (each.group, name, verb) for each in (*RIGHTS, *OF_CLUSTER) for name in each.plurals for verb in each.verbs
        }
        assert used <= given
        assert ("", "secrets", "list") not in given
        (by_name,) = (each for each in RIGHTS if "get" in each.verbs)
        assert by_name.names == (KEYS,)
        assert {each.name for each in here.server.asked if each.verb == "get"} == {KEYS}
        unused = {each for each in given if each not in used and each[2] in ("create", "delete", "patch")}
        assert unused == set()
        assert not any(isinstance(each, Ask) for each in decide(await here.observed()))

    told(story)
