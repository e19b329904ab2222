"""Caches: a volume of what is loaded and built once, and the Job that warms it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from synfire.kubernetes.controller.conditions import condition
from synfire.kubernetes.controller.objects import digest_of, key_of, stamped
from synfire.kubernetes.controller.observed import Document, Key, Observed
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.controller.troubles import last_words, trouble_of, unmade
from synfire.kubernetes.manifests import Description, warming
from synfire.kubernetes.manifests.parts import document
from synfire.kubernetes.resources import CacheSpec, CacheStatus, Condition

TRIES = 3
"""How often a warming that failed is tried again by Kubernetes, each time after a longer pause."""


_OF_VOLUMES = ("NoVolume", "VolumeFull")
"""Troubles of Pods that are those of their volume."""

_NO_HOME = ("VolumeFull", "VolumeLost")
"""Reasons of a cache on whose volume nothing can be kept."""


def claim_of(found: Asked[CacheSpec]) -> str:
    """The claim of its volume."""
    return (found.spec.claim if found.spec is not None else "") or f"synfire-{found.name}"


def job_of(found: Asked[CacheSpec]) -> str:
    """The Job that warms it with what it names now: other models, or another Secret, are another Job."""
    named = [*found.spec.models, *filter(None, (found.spec.secret,))] if found.spec is not None else []
    return f"synfire-{found.name[:40]}-warm-{digest_of(named)[:8]}"


def wanted(found: Asked[CacheSpec], described: Description, observed: Observed) -> Iterator[Document]:
    """The claim, and the Job, of a cache whose spec is right."""
    spec = found.spec
    if spec is None:
        return
    if not spec.claim:
        claim = stamped(_claim(found, spec, described), None if spec.keep else found.document)
        yield _as_it_was_made(claim, observed)
    if spec.models:
        filled = warming.Filled(claim_of(found), spec.models, spec.secret)
        job = warming.job(described, job_of(found), filled, TRIES)
        yield _as_it_was_made(stamped(job, found.document), observed)
        yield stamped(warming.policy(described))


def status(found: Asked[CacheSpec], observed: Observed) -> CacheStatus:
    """What the user of a cache is told."""
    claim = observed.made.get(Key("PersistentVolumeClaim", claim_of(found)), {})
    capacity = claim.get("status", {}).get("capacity", {}).get("storage", "")
    phase, conditions = _state(found, observed, claim)
    warmed = found.spec.models if found.spec is not None and phase == "Ready" else ()
    return CacheStatus(phase=phase, conditions=conditions, claim=claim_of(found), capacity=capacity, warmed=warmed)


def takes(found: Asked[CacheSpec], observed: Observed) -> bool:
    """Whether a deployment that is begun now can keep its store on the volume."""
    conditions = status(found, observed).conditions
    return not any(each.type == "Ready" and each.reason in _NO_HOME for each in conditions)


def _state(
    found: Asked[CacheSpec], observed: Observed, claim: Document
) -> tuple[Literal["Pending", "Warming", "Ready", "Failed"], tuple[Condition, ...]]:
    spec = found.spec
    if spec is None:
        return "Failed", _refused("InvalidSpec", found.mistake)
    for key in (Key("PersistentVolumeClaim", claim_of(found)), Key("Job", job_of(found))):
        if refusal := observed.refusals.get(key):
            return "Failed", _refused(refusal.reason, refusal.message, accepted=True)
    if claim.get("status", {}).get("phase") == "Lost":
        return "Failed", _refused(
            "VolumeLost",
            f"the volume of claim {claim_of(found)} has gone; delete the claim for a new one",
            accepted=True,
        )
    if not spec.models:
        lack = trouble_of(each for each in observed.pods if _mounts(each, claim_of(found)))
        if lack is not None and lack.reason in _OF_VOLUMES:
            return "Pending", (_ACCEPTED, condition("Ready", False, *lack))
        return "Ready", (_ACCEPTED, condition("Ready", True, "Ready", "it is filled as it is used"))
    job = observed.made.get(Key("Job", job_of(found)), {}).get("status", {})
    pods = [each for each in observed.pods if each["metadata"].get("labels", {}).get("job-name") == job_of(found)]
    if job.get("succeeded"):
        return "Ready", (_ACCEPTED, condition("Ready", True, "Warm", f"{len(spec.models)} models are there"))
    trouble = trouble_of(pods) or (None if job.get("active") else unmade(Key("Job", job_of(found)), pods, observed))
    if any(each["type"] == "Failed" and each["status"] == "True" for each in job.get("conditions", ())):
        words = trouble.message if trouble else last_words(pods) or f"`kubectl logs job/{job_of(found)}` tells why"
        return "Failed", _refused(
            trouble.reason if trouble else "WarmingFailed",
            f"it could not be warmed: {words}; then delete the Job {job_of(found)}, and it is tried again",
            accepted=True,
        )
    if trouble is not None:
        return "Warming", (_ACCEPTED, condition("Ready", False, *trouble))
    return "Warming", (
        _ACCEPTED,
        condition("Ready", False, "Warming", f"Job {job_of(found)} loads {len(spec.models)} models"),
    )


def _mounts(pod: Document, claim: str) -> bool:
    """Whether a Pod is to have the volume of that claim."""
    volumes = pod.get("spec", {}).get("volumes", ())
    return any(each.get("persistentVolumeClaim", {}).get("claimName") == claim for each in volumes)


def _claim(found: Asked[CacheSpec], spec: CacheSpec, described: Description) -> Document:
    content: Document = {"accessModes": [spec.access_mode], "resources": {"requests": {"storage": spec.size}}}
    if spec.storage_class_name is not None:
        content["storageClassName"] = spec.storage_class_name
    return document("v1", "PersistentVolumeClaim", claim_of(found), described, "cache", spec=content)


def _as_it_was_made(wanted: Document, observed: Observed) -> Document:
    """Claims and Jobs take no other content once they are there."""
    seen = observed.made.get(key_of(wanted))
    if seen is None:
        return wanted
    kept = {**wanted["metadata"], "annotations": seen["metadata"].get("annotations", {})}
    return {**wanted, "metadata": kept, "spec": seen["spec"]}


def _refused(reason: str, message: str, accepted: bool = False) -> tuple[Condition, ...]:
    first = _ACCEPTED if accepted else condition("Accepted", False, reason, message)
    return first, condition("Ready", False, reason, message)


_ACCEPTED = condition("Accepted", True, "Accepted")
