"""What Kubernetes' controller of StatefulSets and its kubelets do to the sets of a fake API server, one step at a time.

As that of 1.20 does it: Pods of an earlier template are replaced from the last one down, each when those after it are ready; of a set that keeps the
order, none while one is not ready. There are no partitions, no `OnDelete` and no volumes, and all Pods that are missing are made at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from synfire.testing.fake_kubernetes import Document, FakeKubernetes, pods_of

REVISION = "controller-revision-hash"


class FakeStatefulSets:
    """Of one server. `runs` says of a Pod whether its container comes to run; one that does not waits for its image."""

    def __init__(self, server: FakeKubernetes, runs: Callable[[Document], bool] = lambda pod: True) -> None:
        self.runs = runs
        self._server = server

    def step(self) -> bool:
        """One step of everybody. Returns whether anything was done."""
        done = self._run()
        sets = self._server.all("statefulsets")
        wanted = {pod["metadata"]["name"] for each in sets for pod in pods_of(each)}
        for each in self._server.all("pods"):
            if each["metadata"]["name"] not in wanted:
                self._server.delete("pods", each["metadata"]["name"])
                done = True
        stepped = [self._step(each) for each in sets]
        return done or any(stepped)

    def _run(self) -> bool:
        """Kubelets begin what was made."""
        made = [each for each in self._server.all("pods") if each.get("status", {}).get("phase") == "Pending"]
        begun = [each for each in made if self.runs(each)]
        for each in begun:
            self._server.put({**each, "status": _running()})
        for each in made:
            waits = each not in begun and "containerStatuses" not in each["status"]
            if waits:
                self._server.put({**each, "status": _waiting(each)})
        return bool(begun)

    def _step(self, found: Document) -> bool:
        revision = _digest(found["spec"]["template"])
        wanted = [_marked(each, revision) for each in pods_of(found, ready=False)]
        there = {each["metadata"]["name"]: each for each in self._server.all("pods")}
        missing = [each for each in wanted if each["metadata"]["name"] not in there]
        pods = [there[each["metadata"]["name"]] for each in wanted if each["metadata"]["name"] in there]
        for each in missing:
            self._server.put(each)
        due = None if missing else self._due(found, pods, revision)
        if due is not None:
            self._server.delete("pods", due["metadata"]["name"])
        return self._tell(found, [*pods, *missing], revision) or bool(missing) or due is not None

    def _due(self, found: Document, pods: list[Document], revision: str) -> Document | None:
        """The Pod that goes next; None where nobody does."""
        if found["spec"].get("podManagementPolicy") != "Parallel" and not all(map(_is_ready, pods)):
            return None
        for each in reversed(pods):
            if _revision(each) != revision:
                return None if "deletionTimestamp" in each["metadata"] else each
            if not _is_ready(each):
                return None
        return None

    def _tell(self, found: Document, pods: list[Document], revision: str) -> bool:
        """The set's status, of the Pods that there were, and those that were made. Returns whether it is another one."""
        before = found.get("status", {})
        updated = sum(_revision(each) == revision and "deletionTimestamp" not in each["metadata"] for each in pods)
        ready = sum(map(_is_ready, pods))
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": ready,
            "updatedReplicas": updated,
            "currentRevision": before.get("currentRevision", revision),
            "updateRevision": revision,
        }
        if updated == ready == len(pods):
            status["currentRevision"] = revision
        if status != before:
            self._server.put({**found, "status": status})
        return status != before


def _marked(pod: Document, revision: str) -> Document:
    metadata = pod["metadata"]
    status = {**pod["status"], "phase": "Pending"}
    return {**pod, "metadata": {**metadata, "labels": {**metadata["labels"], REVISION: revision}}, "status": status}


def _running() -> Document:
    ready = [{"type": "Ready", "status": "True"}]
    containers = [{"ready": True, "started": True, "state": {"running": {}}}]
    return {"phase": "Running", "podIP": "10.0.0.1", "conditions": ready, "containerStatuses": containers}


def _waiting(pod: Document) -> Document:
    image = pod["spec"]["containers"][0]["image"]
    waits = {"image": image, "ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    return {**pod["status"], "containerStatuses": [waits]}


def _is_ready(pod: Document) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _revision(pod: Document) -> str:
    found: str = pod["metadata"].get("labels", {}).get(REVISION, "")
    return found


def _digest(template: Document) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
