"""In which order the Pods of a deployment are begun anew: one StatefulSet after the other, so that never two kinds of them are away together.

A change of a Pod template, such as another image, has Kubernetes replace the Pods of a set, one by one. Of several sets with such a change one
goes at a time; the next one when the last has rolled out.

- **The serving Pod is first, and waits for nobody.** Workers of another wire version are refused, so those of a set that went before it might
  never be ready: a set may wait for the serving Pod, and never the serving Pod for a set.
- **Spares follow, then hosts.** What leaves a host finds a spare that is new already, and does not move twice. An image with which no worker comes
  to run is found out by Pods that nobody calls: hosts stay as they are.
- **What rolls already is changed at once**, whoever had it roll: where an image cannot be pulled, waiting for its Pods would be waiting for the
  correction itself. It adds nothing to what is away.

All of it is judged by what is seen, so somebody else's `kubectl rollout restart` is waited for as well. A set has rolled out when Kubernetes has
seen its newest template and says that its two revisions are one, as it does once all Pods are of the new template, and ready. What befalls Pods
after that is no rollout: a pool that lacks a node, or that has never been ready, holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from synfire.kubernetes.controller.conditions import condition
from synfire.kubernetes.controller.decision import Action, Delete, Replace
from synfire.kubernetes.controller.objects import begins_anew, key_of
from synfire.kubernetes.controller.observed import Document, Key, Observed
from synfire.kubernetes.controller.serving import NAME
from synfire.kubernetes.controller.troubles import is_ready, trouble_of
from synfire.kubernetes.manifests.workers import ROLE
from synfire.kubernetes.resources import Condition

REVISION = "controller-revision-hash"
"""A label that Kubernetes gives to the Pods of a set: of which template they are."""

SERVING = Key("StatefulSet", NAME)


def waiting(changes: Iterable[Action], sets: Iterable[Key], observed: Observed) -> dict[Key, tuple[Key, ...]]:
    """Which sets do not get their Pod template yet, and those that each of them waits for, the next one first. `sets` are those of the deployment."""
    there = {each: observed.made[each] for each in sets if _stays(observed.made.get(each))}
    wanted = {key_of(each.document): each.document for each in changes if isinstance(each, Replace)}
    order = sorted(there, key=lambda each: (_rank(each, there[each]), each))
    due = [each for each in order if each in wanted and begins_anew(wanted[each], there[each])]
    away = [each for each in order if not _has_rolled_out(each, there[each], observed)]
    found = {}
    for number, key in enumerate(due):
        if key == SERVING or _rolls(there[key]):
            continue
        first = (each for each in due[:number] if each not in observed.refusals)  # what is refused goes nowhere
        ahead = {each for each in (*away, *first) if each != key}
        if ahead:
            found[key] = tuple(each for each in order if each in ahead)
    return found


def in_turn(changes: Iterable[Action], waits: Mapping[Key, tuple[Key, ...]], observed: Observed) -> Iterator[Action]:
    """The changes, but for Pod templates that have to wait. How many Pods there are waits for nothing."""
    for each in changes:
        key = key_of(each.document) if isinstance(each, Replace) else None
        if not isinstance(each, Replace) or key is None or key not in waits:
            yield each
            continue
        there, count = observed.made[key], each.document["spec"]["replicas"]
        if there["spec"].get("replicas") != count:
            yield Replace({**_without_status(there), "spec": {**there["spec"], "replicas": count}})


def unblocked(observed: Observed) -> Iterator[Action]:
    """A serving Pod of an earlier template that is not ready is deleted. Of a set that keeps its Pods' order Kubernetes replaces none until it is ready,
    so a correction would never come to its Pod (its documentation calls that a forced rollback)."""
    there = observed.made.get(SERVING)
    if there is None or not _is_seen(there) or not _rolls(there):
        return
    newest = there["status"].get("updateRevision")
    for pod in _pods_of(SERVING, observed):
        revision = _revision(pod)
        if revision and revision != newest and not is_ready(pod) and "deletionTimestamp" not in pod["metadata"]:
            yield Delete("v1", Key("Pod", pod["metadata"]["name"]), pod["metadata"]["uid"])


def conditions(key: Key, waits: Mapping[Key, tuple[Key, ...]], observed: Observed) -> tuple[Condition, ...]:
    """Whether the Pods of a set are those that are asked for now, or what they wait for."""
    there = observed.made.get(key)
    if there is None:
        return ()
    if key in waits:
        return (condition("Updated", False, "WaitsForRollout", _what_for(waits[key], observed)),)
    if not _is_seen(there):
        return (condition("Updated", None, "Rolling", f"Kubernetes has not looked at the newest {key} yet"),)
    if _has_rolled_out(key, there, observed):
        return (condition("Updated", True, "RolledOut", "all Pods were begun as they are asked for now"),)
    return (condition("Updated", False, "Rolling", _how_far(key, there, observed)),)


def _what_for(ahead: tuple[Key, ...], observed: Observed) -> str:
    first, *rest = ahead
    there, then = observed.made[first], "".join(f", then {each}" for each in rest)
    known = "its turn is now" if _has_rolled_out(first, there, observed) else _how_far(first, there, observed)
    return (
        f"Pods of a deployment are begun anew one set after the other, and those here stay as they are: they wait for {first} ({known}){then}; "
        f"where that cannot go on, mend it or take its change back, which waits for nothing (`kubectl rollout status {first.kind.lower()}/{first.name}`)"
    )


def _how_far(key: Key, there: Document, observed: Observed) -> str:
    status, trouble = there.get("status", {}), trouble_of(_pods_of(key, observed))
    count = there["spec"].get("replicas", 1)
    said = f"{status.get('updatedReplicas', 0)} of {count} Pods are new, {status.get('readyReplicas', 0)} ready"
    return said if trouble is None else f"{said}: {trouble.message}"


def _has_rolled_out(key: Key, there: Document, observed: Observed) -> bool:
    """The serving Pod has when its new container answers: where it serves models of before, it is ready only when workers have joined again."""
    if not _is_seen(there):
        return False
    return not _rolls(there) or (key == SERVING and _has_started(there, observed))


def _is_seen(there: Document) -> bool:
    return bool(there.get("status", {}).get("observedGeneration") == there["metadata"].get("generation"))


def _rolls(there: Document) -> bool:
    """Whether Pods of it are begun anew, by what Kubernetes saw last. With the template of before, taken back in the midst of it, its revisions
    are one again at once, and Pods of the other one are still there."""
    status = there.get("status", {})
    if status.get("currentRevision") != status.get("updateRevision"):
        return True
    return bool(status.get("updatedReplicas", 0) < status.get("replicas", 0))


def _has_started(there: Document, observed: Observed) -> bool:
    newest, pods = there["status"].get("updateRevision"), list(_pods_of(SERVING, observed))
    return bool(pods) and all(_revision(each) == newest and _answers(each) for each in pods)


def _answers(pod: Document) -> bool:
    """Whether its startup probe has been answered."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    return is_ready(pod) or any(each.get("started") for each in pod.get("status", {}).get("containerStatuses", ()))


def _rank(key: Key, there: Document) -> int:
    if key == SERVING:
        return 0
    return 1 if there["spec"]["template"]["metadata"]["labels"].get(ROLE) == "spares" else 2


def _stays(there: Document | None) -> bool:
    return there is not None and "deletionTimestamp" not in there["metadata"]


def _pods_of(key: Key, observed: Observed) -> Iterator[Document]:
    for each in observed.pods:
        stem, _, number = each["metadata"]["name"].rpartition("-")
        if stem == key.name and number.isdecimal():
            yield each


def _revision(pod: Document) -> str:
    found: str = pod["metadata"].get("labels", {}).get(REVISION, "")
    return found


def _without_status(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "status"}
