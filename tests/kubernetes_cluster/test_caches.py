"""Caches on a real cluster: a volume that is full, the Job that fills it when there is room, and Pods that start from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from deployed import SMALL, Deployment, condition, is_told, resource
from under_load import MODEL, calling, known

from synfire.testing.callers import until
from synfire.testing.kubernetes import Cluster, Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NAMESPACE = "synfire-caches"
DISK, SIZE_MIB = "small", 384
ON_DISK = {"storageClassName": DISK, "size": f"{SIZE_MIB}Mi"}
TRIES = 4
WARMING = "--selector=app.kubernetes.io/component=cache"


@pytest.fixture(scope="module")
def full(controller: Kubectl, provided: Cluster) -> Iterator[Kubectl]:
    """A namespace with a cache on a volume of the first node, which is full, and with a model that is to be served from it."""
    known()  # on a fresh machine that is compiled, for as long as all tries of the Job take
    node = provided.nodes["node-0"]
    volume = node.volume(DISK, SIZE_MIB)
    node.fill(DISK)
    provided.kubectl("create", "namespace", NAMESPACE)
    kubectl = provided.kubectl.within(NAMESPACE)
    kubectl.apply(
        volume,
        resource("SynfireCache", "store", models=[MODEL], **ON_DISK),
        resource("SynfireModel", "late", source=MODEL),
    )
    yield kubectl
    kubectl("delete", "sfm,sfp,sfc", "--all", "--timeout=120s")
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    kubectl("delete", "pv", volume["metadata"]["name"], "--wait=false")


@pytest.fixture(scope="module")
def warm(full: Kubectl, provided: Cluster) -> Kubectl:
    """The same, when there was room again."""
    provided.nodes["node-0"].free(DISK)
    full("wait", "--for=condition=Ready", "sfc/store", "--timeout=300s")
    return full


def warming(kubectl: Kubectl) -> list[dict[str, Any]]:
    """The Pods that warm a cache, the first one first."""
    found: list[dict[str, Any]] = kubectl.get("pods", WARMING)["items"]
    return sorted(found, key=lambda each: each["metadata"]["creationTimestamp"])


def took_s(kubectl: Kubectl) -> float:
    """How long the last Pod that warmed a cache took for the first model."""
    status = warming(kubectl)[-1]["status"]
    ended = (status.get("initContainerStatuses") or status["containerStatuses"])[0]["state"]["terminated"]
    began, end = (datetime.fromisoformat(ended[each]) for each in ("startedAt", "finishedAt"))
    return (end - began).total_seconds()


def machine_code(cluster: Cluster) -> set[str]:
    """The files of it that are on the volume."""
    node = cluster.nodes["node-0"]
    return set(node.machine.run(["find", str(node.disk(DISK)), "-name", "*.code"]).split())


def joined_s(kubectl: Kubectl, pool: str) -> float:
    """How long it takes from the order of a Pod until its worker has joined."""
    began_s = time.monotonic()
    kubectl("scale", f"sfp/{pool}", "--replicas=1")
    until(lambda: kubectl.get("sfp", pool).get("status", {}).get("ready") == 1)
    return time.monotonic() - began_s


def test_a_volume_that_is_full_is_told_with_its_cure_and_harms_no_other_object(
    deployment: Deployment, full: Kubectl
) -> None:
    with calling(deployment, "a volume that is full") as callers:
        is_told(full, "sfc", "store", "VolumeFull", "make it larger, or free some")
        assert "no space left" in condition(full, "sfc", "store")["message"]
        until(lambda: "when SynfireCache store is warm" in condition(full, "sfm", "late")["message"])
        callers.go_on(50)


def test_a_volume_that_has_room_again_is_warmed_by_the_next_try(warm: Kubectl, provided: Cluster) -> None:
    *failed, last = [each["status"]["phase"] for each in warming(warm)]
    assert (set(failed) - {"Failed"}, last) == (set(), "Succeeded")
    assert len(failed) < TRIES
    assert machine_code(provided)
    print(f"{MODEL} was built on an empty volume within {took_s(warm):.0f} s")


def test_what_is_on_the_volume_is_not_made_again(warm: Kubectl, provided: Cluster) -> None:
    before = machine_code(provided)
    warm.apply(resource("SynfireCache", "store", models=[MODEL, MODEL], **ON_DISK))
    until(lambda: warm.get("sfc", "store")["status"].get("warmed") == [MODEL, MODEL])
    assert machine_code(provided) == before
    print(f"{MODEL} was built on a warm one within {took_s(warm):.0f} s")


def test_pods_start_from_a_warm_volume(warm: Kubectl, provided: Cluster) -> None:
    before = machine_code(provided)
    warm.apply(
        resource("SynfirePool", "warm", count=0, cache="store", **SMALL),
        resource("SynfirePool", "cold", count=0, nodeSelector={"kubernetes.io/hostname": "node-0"}, **SMALL),
    )
    until(lambda: condition(warm, "sfm", "late")["reason"] in ("Waiting", "Loading", "Served"))
    cold_s, warm_s = joined_s(warm, "cold"), joined_s(warm, "warm")
    warm("wait", "--for=condition=Ready", "sfm/late", "--timeout=120s")
    assert machine_code(provided) == before
    print(f"a worker joined {cold_s:.1f} s after it was asked for, and {warm_s:.1f} s from a warm volume")
