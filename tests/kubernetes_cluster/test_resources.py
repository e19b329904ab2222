"""Custom resources on a real cluster, from `kubectl apply` to the answer, whatever happens to Pods, nodes and the controller meanwhile."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from deployed import CONTROLLER, SERVING, SPARE, Deployment, condition, events, resource
from under_load import MODEL, PORT, calling, drain, known

from synfire.base.errors import DeadlineExceeded, PermanentError, TemporaryError
from synfire.base.keys import authorization
from synfire.testing.callers import until
from synfire.testing.kubernetes import Kubectl
from synfire.wire import oip
from synfire.wire.client import Client

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

HOSTS = {"synfire-hosts-0", "synfire-hosts-1"}

MADE = "statefulset,service,endpoints,configmap,serviceaccount,networkpolicy,poddisruptionbudget"

BUSY = "synfire_worker_requests"
"""What gateways tell of each worker: the requests that it holds."""


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


def test_pods_say_what_they_do(deployment: Deployment) -> None:
    def duties() -> dict[str, str]:
        found = deployment.kubectl.get("pods", "--selector=synfire.dev/pool")["items"]
        return {each["metadata"]["name"]: each["metadata"]["labels"].get("synfire.dev/duty", "") for each in found}

    hosts = {each["worker"] for each in deployment.stages()}
    until(lambda: duties() == dict.fromkeys(hosts, "host") | {SPARE: "spare"})
    one = deployment.stages()[0]
    told = deployment.kubectl.get("pod", one["worker"])["metadata"]["annotations"]["synfire.dev/hosts"]
    assert one["name"] in told


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


def test_the_serving_container_is_killed_under_load_and_goes_on_when_it_is_begun_again(deployment: Deployment) -> None:
    kubectl, pod = deployment.kubectl, deployment.kubectl.get("pod", SERVING)

    def begun() -> dict[str, int]:
        """How often each Pod's container was begun again."""
        pods = kubectl.get("pods")["items"]
        return {each["metadata"]["name"]: each["status"]["containerStatuses"][0]["restartCount"] for each in pods}

    before = begun()
    with calling(deployment, "SIGKILL to all of the serving container", again=(TemporaryError,)) as callers:
        deployment.cluster.nodes[pod["spec"]["nodeName"]].kill(pod)
        until(lambda: begun()[SERVING] > before[SERVING])
    assert begun() == {**before, SERVING: before[SERVING] + 1}
    assert callers.broken > 0
    assert "its processes were killed, and are begun again" in kubectl("logs", SERVING)
    until(deployment.relieved)


def uid(deployment: Deployment, pod: str) -> str:
    """Which Pod of that name there is; empty for none."""
    return deployment.kubectl("get", "pod", pod, "--ignore-not-found", "--output=jsonpath={.metadata.uid}")


def answers(deployment: Deployment) -> bool:
    """Whether who calls now is answered soon; rightly in any case."""
    inputs, expected = known()
    try:
        with Client(deployment.url, timeout_s=1.0) as client:
            found = client.infer(deployment.name, inputs).outputs
    except (TemporaryError, DeadlineExceeded):
        return False
    assert {name: each.tobytes() for name, each in found.items()} == {
        name: each.tobytes() for name, each in expected.items()
    }
    return True


def test_the_serving_pod_is_deleted_and_another_one_loads_its_models_anew(deployment: Deployment) -> None:
    before, began_s = uid(deployment, SERVING), time.monotonic()
    deployment.kubectl("delete", "pod", SERVING)
    until(lambda: uid(deployment, SERVING) not in ("", before))
    until(lambda: answers(deployment))
    print(f"calls are answered again {time.monotonic() - began_s:.1f} s after the serving Pod was deleted")
    until(deployment.whole)
    until(deployment.relieved)


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


def test_a_pool_follows_a_metric_of_its_workers_and_shrinks_by_hand_under_load(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    follows = deployment.changed("sfp", "hosts", autoscale={"least": 2, "most": 3, "metric": BUSY, "target": "100m"})
    with follows, calling(deployment, "a HorizontalPodAutoscaler on synfire_worker_requests, from 2 hosts to 3"):
        began_s = time.monotonic()
        until(lambda: kubectl.get("sfp", "hosts")["spec"]["count"] == 3)
        print(f"the pool was asked for a third host {time.monotonic() - began_s:.0f} s after it was to follow the load")
        deployment.has(3)
        assert condition(kubectl, "sfp", "hosts", "Scaled")["status"] == "True"
    with calling(deployment, "kubectl scale sfp/hosts --replicas=2"):
        until(lambda: kubectl("get", "hpa", "--output=name") == "")
        deployment.scale(2)


def test_a_pool_that_follows_models_gets_a_pod_for_a_replica_that_has_no_place_under_load(
    deployment: Deployment,
) -> None:
    kubectl = deployment.kubectl
    follows = deployment.changed("sfp", "hosts", autoscale={"follows": "models", "least": 2, "most": 3})
    with calling(deployment, "a pool that follows models, from 2 hosts to 3 and back"):
        with follows:
            kubectl.apply(resource("SynfireModel", "whole", source=MODEL, granularity="model", replicas=3))
            try:
                deployment.has(3)
                until(lambda: deployment.status("sfm", "whole").get("replicasReady") == 3)
            finally:
                kubectl("delete", "sfm", "whole")
        deployment.has(2)


def test_pods_go_while_their_model_sleeps_and_a_call_brings_them_back(deployment: Deployment) -> None:
    def pods() -> str:
        return deployment.kubectl("get", "pods", "--selector=synfire.dev/pool=hosts", "--output=name")

    inputs, expected = known()
    follows = deployment.changed("sfp", "hosts", autoscale={"follows": "models", "least": 0, "most": 2})
    sleeps = deployment.changed("sfm", deployment.name, scale={"least": 0, "most": 1, "idleSeconds": 3})
    with follows, sleeps:
        until(lambda: deployment.status("sfm", deployment.name)["phase"] == "Asleep")
        until(lambda: pods() == "")
        with Client(deployment.url) as client:
            began_s = time.monotonic()
            found = client.infer(deployment.name, inputs).outputs
            print(f"a call that found no Pod of the pool was answered after {time.monotonic() - began_s:.1f} s")
        assert {name: each.tobytes() for name, each in found.items()} == {
            name: each.tobytes() for name, each in expected.items()
        }
        until(lambda: pods() != "")
    deployment.has(2)
    until(lambda: condition(deployment.kubectl, "sfm", deployment.name)["reason"] == "Served")
    until(deployment.relieved)


def test_a_pool_that_is_to_follow_what_nobody_measures_says_so_and_stays(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    with deployment.changed("sfp", "spares", autoscale={"most": 2}):
        until(lambda: condition(kubectl, "sfp", "spares", "Scaled")["reason"] == "NoMetrics")
        assert "install metrics-server" in condition(kubectl, "sfp", "spares", "Scaled")["message"]
        assert kubectl("get", "hpa", "--output=name") == ""


def test_another_model_comes_is_doubled_rests_and_goes_under_load(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    with calling(deployment, "another model served, doubled, unloaded and deleted"):
        kubectl.apply(resource("SynfireModel", "whole", source=MODEL, granularity="model"))
        try:
            kubectl("wait", "--for=condition=Ready", "sfm/whole", "--timeout=120s")
            kubectl("scale", "sfm/whole", "--replicas=2")
            until(lambda: deployment.status("sfm", "whole").get("replicasReady") == 2)
            # On two hosts, and on the spare only while that stands in for one.
            until(lambda: {each["worker"] for each in deployment.status("sfm", "whole")["stages"]} == HOSTS)
            kubectl("scale", "sfm/whole", "--replicas=0")
            until(lambda: deployment.status("sfm", "whole")["phase"] == "Unloaded")
        except BaseException:
            print(kubectl("describe", "sfm"), kubectl("logs", SERVING, "--tail=50"))
            raise
        finally:
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


def test_the_node_of_the_serving_pod_is_cut_off_and_it_is_begun_on_another_one(deployment: Deployment) -> None:
    kubectl, before = deployment.kubectl, deployment.kubectl.get("pod", SERVING)
    node = before["spec"]["nodeName"]

    def elsewhere() -> bool:
        found = kubectl("get", "pod", SERVING, "--ignore-not-found", "--output=jsonpath={.spec.nodeName}")
        return found not in ("", node)

    again = TemporaryError, DeadlineExceeded  # nobody answers; then nobody knows the model yet, until it is loaded anew
    with calling(deployment, "the cable of the serving Pod's node pulled", again=again) as callers:
        deployment.cluster.nodes[node].cut()
        until(elsewhere)
        callers.go_on()
        deployment.cluster.nodes[node].mend()
    assert callers.broken > 0
    assert ("Warning", "NodeLost") in events(kubectl, SERVING)
    until(deployment.relieved)


def test_all_pods_are_begun_anew_one_set_after_the_other(deployment: Deployment) -> None:
    kubectl, pods = deployment.kubectl, (SERVING, SPARE, *sorted(HOSTS))
    before = {name: uid(deployment, name) for name in pods}
    rolled: list[str] = []

    def over() -> bool:
        found = {each["metadata"]["name"]: each["status"] for each in kubectl.get("statefulsets")["items"]}
        rolling = [name for name, each in found.items() if each["currentRevision"] != each["updateRevision"]]
        assert len([each for each in rolling if each != "synfire"]) < 2
        rolled.extend(each for each in rolling if each not in rolled)
        return not rolling and all(uid(deployment, name) not in ("", before[name]) for name in pods)

    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "synfire"}, "data": {"log": "info"}}
    kubectl.apply(settings)
    until(lambda: over() or rolled[-1:] == ["synfire-spares"])
    assert condition(kubectl, "sfp", "hosts", "Updated")["reason"] == "WaitsForRollout"
    until(lambda: answers(deployment))
    with calling(deployment, "spares and hosts begun anew, after the serving Pod"):
        until(over)
    assert rolled == ["synfire", "synfire-spares", "synfire-hosts"]
    assert condition(kubectl, "sfp", "hosts", "Updated")["status"] == "True"
    until(deployment.relieved)


def test_a_model_that_is_deleted_is_gone_and_everything_goes_with_the_last_object(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    assert httpx.get(f"{deployment.url}/v2/models/digits", headers=authorization()).status_code == 200
    kubectl("delete", "sfm", "digits")
    assert httpx.get(f"{deployment.url}/v2/models/digits", headers=authorization()).status_code == 404
    until(lambda: "digits" not in kubectl("get", "services", "--output=name"))
    kubectl("delete", "sfm,sfp", "--all")
    ours = "--selector=app.kubernetes.io/managed-by=synfire-controller"
    until(lambda: kubectl("get", MADE, ours, "--output=name") == "")
    until(lambda: kubectl("get", "pods", "--output=name") == "")
    assert kubectl("get", "secret", "synfire-keys", "--output=name") == "secret/synfire-keys\n"
