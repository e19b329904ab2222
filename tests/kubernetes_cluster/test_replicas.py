"""Replicas of one stage on a real cluster, by `kubectl` alone, while the model is called."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from deployed import Deployment, condition
from under_load import calling

from synfire.testing.callers import until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


def homes(deployment: Deployment, stage: str) -> list[str]:
    """The Pods of the stage's replicas, as the model's status tells them."""
    return sorted(each.get("worker", "") for each in deployment.stages() if each["name"] == stage)


def computed(deployment: Deployment, stage: str) -> dict[str, int]:
    """How often each Pod has computed the stage since it hosts it."""
    told = {pod: each["stages"] for pod, each in deployment.members().items()}
    return {
        pod: each["jobs"] for pod, stages in told.items() for each in stages if each["stage"].partition("#")[0] == stage
    }


def all_compute(deployment: Deployment, stage: str, pods: Collection[str]) -> None:
    """Wait until each of these Pods has computed the stage more often than now."""
    before = computed(deployment, stage)
    until(lambda: all(computed(deployment, stage).get(pod, 0) > before.get(pod, 0) for pod in pods))


def test_one_stage_has_two_replicas_on_two_pods_one_of_them_is_killed_and_it_has_one_again(
    deployment: Deployment,
) -> None:
    stages = deployment.stages()
    stage = stages[len(stages) // 2]["name"]
    hosts = ["synfire-hosts-0", "synfire-hosts-1"]
    with deployment.changed("sfm", deployment.name, stages={stage: {"least": 2, "most": 2}}):
        with calling(deployment, "one stage in two replicas") as callers:
            until(lambda: homes(deployment, stage) == hosts)
            all_compute(deployment, stage, hosts)
            callers.go_on(50)
        name, node = deployment.hosting()
        with calling(deployment, "one of these two Pods killed"):
            deployment.cluster.nodes[node].kill(deployment.kubectl.get("pod", name))
            until(lambda: name not in (there := homes(deployment, stage)) and len(set(there)) == 2)
            all_compute(deployment, stage, homes(deployment, stage))
        until(deployment.relieved)
        until(lambda: homes(deployment, stage) == hosts)
    with calling(deployment, "the stage in one replica again") as callers:
        until(lambda: len(homes(deployment, stage)) == 1)
        callers.go_on(50)
    until(lambda: condition(deployment.kubectl, "sfm", deployment.name)["reason"] == "Served")


def test_one_stage_sleeps_its_pod_hosts_it_no_longer_and_a_call_wakes_it(deployment: Deployment) -> None:
    until(deployment.relieved)

    def asleep() -> list[str]:
        """The stages that no Pod hosts, as the model's status tells it."""
        return [each["name"] for each in deployment.stages() if not each.get("worker")]

    stages = deployment.stages()
    stage = stages[len(stages) // 2]["name"]

    def hosting() -> list[str]:
        """The Pods that say themselves that they host the stage."""
        told = {pod: each["stages"] for pod, each in deployment.members().items()}
        return [pod for pod, stages in told.items() if any(each["stage"] == stage for each in stages)]

    with deployment.changed("sfm", deployment.name, stages={stage: {"least": 0, "most": 1, "idleSeconds": 3}}):
        until(lambda: condition(deployment.kubectl, "sfm", deployment.name)["reason"] == "Asleep")
        until(lambda: asleep() == [stage])
        assert hosting() == []
        assert condition(deployment.kubectl, "sfm", deployment.name)["status"] == "True"
        with calling(deployment, "a stage that sleeps") as callers:
            callers.go_on(50)
            assert len(hosting()) == 1
    until(lambda: condition(deployment.kubectl, "sfm", deployment.name)["reason"] == "Served")
    until(lambda: asleep() == [])
