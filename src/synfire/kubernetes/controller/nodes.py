"""What befalls nodes: one that is about to be emptied, and one that is lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from synfire.control.state import SPARE
from synfire.kubernetes.controller import stages
from synfire.kubernetes.controller.conditions import event
from synfire.kubernetes.controller.decision import Action, Ask, Delete, MarkPod, Tell
from synfire.kubernetes.controller.deployment import Drain
from synfire.kubernetes.controller.objects import digest_of
from synfire.kubernetes.controller.observed import Document, Key, Observed
from synfire.kubernetes.manifests.parts import GATEWAY, WORKER
from synfire.kubernetes.manifests.workers import JOINS_AS, ROLE, joins_as


def cordoned(nodes: Iterable[Document]) -> frozenset[str]:
    """Those that take no new Pods."""
    return frozenset(each["metadata"]["name"] for each in nodes if each.get("spec", {}).get("unschedulable"))


def lost(nodes: Collection[Document]) -> frozenset[str]:
    """Those of which Kubernetes has heard nothing for so long (40 s, where nobody has said otherwise) that it does not know how they are. None where
    that is so of all: then it is Kubernetes that is cut off, and there is no node to begin anything on."""
    found = frozenset(each["metadata"]["name"] for each in nodes if _is_lost(each))
    return found if len(found) < len(nodes) else frozenset()


def evacuations(observed: Observed) -> Iterator[Action]:
    """A node that takes no new Pods is about to be emptied: stages leave its workers now. These are begun anew then, as spares, until the
    node takes Pods again."""
    hosts = observed.deployed.hosted if observed.deployed else {}
    for pod in observed.pods:
        metadata, node = pod["metadata"], _node_of(pod)
        done = metadata.get("annotations", {}).get(stages.DRAINED)
        if node in observed.cordoned and metadata["name"] in hosts and done is None:
            yield from _begun_anew(metadata["name"], observed.now, SPARE)
        elif done is not None and node not in observed.cordoned:
            yield from _begun_anew(metadata["name"], None, joins_as(metadata["labels"].get(ROLE, "")))


def farewells(observed: Observed) -> Iterator[Action]:
    """Pods of a lost node are deleted without waiting for it: Kubernetes would wait for ever, since a StatefulSet has another Pod begun only
    when the node has said that this one ended. A node that Kubernetes alone cannot reach goes on: Pods that answer stay."""
    for pod in observed.pods if observed.lost else ():
        if _node_of(pod) in observed.lost and _is_missed(pod, observed):
            metadata = pod["metadata"]
            yield Tell(_told(pod, observed))
            yield Delete("v1", Key("Pod", metadata["name"]), metadata["uid"], at_once=True)


def component_of(pod: Document) -> str:
    """Which part of a deployment it is."""
    found: str = pod["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")
    return found


def _is_missed(pod: Document, observed: Observed) -> bool:
    """Whether it was asked, and did not answer. Workers are asked by the deployment; while that is silent they all keep what they have for it.
    Pods of Jobs answer nobody, and go when Kubernetes takes them off the node."""
    component, deployed = component_of(pod), observed.deployed
    if component == WORKER and deployed is not None:
        worker = deployed.workers.get(pod["metadata"]["name"])
        return worker is None or not worker.ready
    return component == GATEWAY and deployed is None and bool(observed.silence) and not observed.unseen


def _is_lost(node: Document) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "Unknown" for each in conditions)


def _told(pod: Document, observed: Observed) -> Document:
    metadata, node = pod["metadata"], _node_of(pod)
    message = f"node {node} does not answer Kubernetes, and Pod {metadata['name']} nobody: it is deleted, and another one is begun elsewhere"
    return event(
        {**pod, "apiVersion": "v1", "kind": "Pod"}, digest_of(metadata["uid"]), "NodeLost", message, observed.now
    )


def _begun_anew(pod: str, drained: str | None, role: str) -> Iterator[Action]:
    """Whoever is drained ends, and its container begins again, in the role that it is given."""
    yield MarkPod(pod, {}, {stages.DRAINED: drained, JOINS_AS: role})
    yield Ask(Drain(pod), Key("Pod", pod))


def _node_of(pod: Document) -> str:
    found: str = pod.get("spec", {}).get("nodeName", "")
    return found
