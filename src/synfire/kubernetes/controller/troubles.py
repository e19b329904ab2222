"""What keeps Pods from running, in words that say how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from synfire.kubernetes.controller.observed import Document, Key, Observed

UNMADE = "FailedCreate"
"""The reason of Kubernetes' Events when a Pod cannot be made, and of our condition."""

RESTARTS = 3
"""A container that ended badly so often is told of; before, it may have been a start at a bad moment."""


class Trouble(NamedTuple):
    """A reason, as a condition has it, and what is wrong and how to mend it."""

    reason: str
    message: str


def trouble_of(pods: Iterable[Document]) -> Trouble | None:
    """The first trouble among Pods, the worst kind first; None where they run, or are on their way."""
    found = [each for pod in pods for each in _troubles(pod)]
    return min(found, key=lambda each: _ORDER.index(each.reason), default=None)


def unmade(owner: Key, pods: Iterable[Document], observed: Observed) -> Trouble | None:
    """Why Kubernetes makes no further Pod for an object of ours: a quota, a policy, a PriorityClass that is not there. What it said before it made
    the last of these `pods` is over."""
    there = observed.made.get(owner)
    if there is None:
        return None
    since = max((each["metadata"].get("creationTimestamp", "") for each in pods), default="")
    said = [each for each in observed.unmade if each["involvedObject"].get("uid") == there["metadata"]["uid"]]
    last = max((each for each in said if _when(each) >= since), key=_when, default=None)
    if last is None:
        return None
    return Trouble(
        UNMADE,
        f"Kubernetes makes no Pod for {owner}: {last.get('message', 'no reason is given')}; mend what it names, such as a quota, a policy or a "
        "PriorityClass, and it is tried again",
    )


def last_words(pods: Iterable[Document]) -> str:
    """What the container said last that was the last one to end badly; empty where none has said anything."""
    ended = [_ended(each) for pod in pods for each in _containers(pod.get("status", {}))]
    told = [each for each in ended if str(each.get("message") or "").strip()]
    last = max(told, key=lambda each: str(each.get("finishedAt", "")), default={})
    return str(last.get("message", "")).strip()[-_MOST_WORDS:]


def is_ready(pod: Document) -> bool:
    """Whether a Pod runs and answers, and is not about to go."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _when(event: Document) -> str:
    """When it was told last."""
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""


def _troubles(pod: Document) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for each in status.get("conditions", ()):
        if each["type"] == "PodScheduled" and each["status"] == "False" and each.get("reason") == "Unschedulable":
            yield _unplaced(name, each.get("message", "no reason is given"))
    for each in _containers(status):
        yield from _of_container(name, each)


def _unplaced(name: str, said: str) -> Trouble:
    """No node takes it: there is no room, or no volume."""
    if "persistentvolumeclaim" in said.lower() and "not found" in said:
        return Trouble(
            "NoVolume", f"Pod {name} waits for a claim that is not there: {said}; make it, or name another one"
        )
    if "persistentvolume" in said.lower().replace(" ", ""):
        return Trouble(
            "NoVolume",
            f"Pod {name} waits for a volume: {said}; name a storageClassName of this cluster that makes one, or make a PersistentVolume that "
            "the claim takes",
        )
    return Trouble(
        "Unschedulable",
        f"no node takes Pod {name}: {said}; add nodes, or ask for less: count, cpus, memory, resource, nodeSelector, sharesNodes",
    )


def _containers(status: Document) -> Iterator[Document]:
    yield from status.get("initContainerStatuses", ())
    yield from status.get("containerStatuses", ())


def _of_container(pod: str, status: Document) -> Iterator[Trouble]:
    waiting = status.get("state", {}).get("waiting") or {}
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    image = status.get("image", "")
    if reason in _IMAGE:
        yield Trouble(
            "ImagePull",
            f"the image {image} of Pod {pod} cannot be pulled ({reason}{_told(said)}); mend its name, or the "
            "registry's access, and it is tried again",
        )
    elif reason in _CONFIGURATION and _FULL in said.lower():
        yield _no_room(pod, said)
    elif reason in _CONFIGURATION:
        yield Trouble("BadConfiguration", f"Pod {pod} cannot be begun ({reason}{_told(said)}); mend what it names")
    ended: Mapping[str, object] = _ended(status)
    if not ended:
        return
    words = str(ended.get("message") or "").strip()
    if ended.get("reason") == "OOMKilled":
        yield Trouble(
            "OutOfMemory",
            f"Pod {pod} took more memory than it may; raise the pool's memory, or place less on each worker",
        )
    elif _FULL in words.lower():
        yield _no_room(pod, words)
    elif status.get("restartCount", 0) >= RESTARTS and reason == "CrashLoopBackOff":
        yield Trouble(
            "KeepsEnding",
            f"Pod {pod} ends with exit code {ended.get('exitCode')} again and again{_told(words)}; `kubectl logs {pod} --previous` "
            "tells more",
        )


def _no_room(pod: str, words: str) -> Trouble:
    return Trouble("VolumeFull", f"a volume of Pod {pod} is full{_told(words)}; make it larger, or free some")


def _ended(status: Document) -> Mapping[str, object]:
    """How the container ended: now, or the last time while it is kept from beginning again."""
    now = status.get("state", {}).get("terminated")
    if now:
        return now if now.get("exitCode") else {}
    if status.get("ready"):
        return {}
    before: Mapping[str, object] = status.get("lastState", {}).get("terminated") or {}
    return before if before.get("exitCode") else {}


def _told(words: str) -> str:
    return f": {words[-_MOST_WORDS:]}" if words else ""


_FULL = "no space left"
"""In the kernel's words, and in synfire's own."""

_MOST_WORDS = 400
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_ORDER = ("ImagePull", "BadConfiguration", "VolumeFull", "OutOfMemory", "KeepsEnding", "NoVolume", "Unschedulable")
