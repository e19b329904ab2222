"""What users are told of an object: conditions, and an Event for each that changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from synfire.kubernetes.controller.decision import Action, SetStatus, Tell
from synfire.kubernetes.controller.objects import digest_of
from synfire.kubernetes.controller.observed import Document
from synfire.kubernetes.resources import Condition

LONGEST_MESSAGE = 1024
SOURCE = "synfire-controller"

GRANT = "grant the controller's ServiceAccount that right, it is tried again"
NO_DEPLOYMENT = "NoDeployment"
ON_THE_WAY = (NO_DEPLOYMENT, "Loading", "Joining", "Waiting", "Warming", "ModelsNotReady", "Rolling", "WaitsForRollout")
"""Reasons that pass by themselves: no Event warns of them."""


def condition(type_: str, holds: bool | None, reason: str, message: str = "") -> Condition:
    """One condition; `holds` is None where it is not known yet."""
    status: Literal["True", "False", "Unknown"] = "Unknown" if holds is None else "True" if holds else "False"
    return Condition(type_, status, reason, _short(message))


def told(document: Document, status: msgspec.Struct, now: str) -> Iterator[Action]:
    """What makes the object tell this status: Events of what has changed, then the status, where it is another one."""
    before = document.get("status", {})
    known = {each["type"]: each for each in before.get("conditions", ())}
    generation = document["metadata"].get("generation", 0)
    settled = [_settled(each, known.get(each.type), generation, now) for each in status.conditions]  # type: ignore[attr-defined]
    whole = msgspec.structs.replace(status, conditions=tuple(settled), observed_generation=generation)
    wanted: Document = _said(msgspec.json.decode(msgspec.json.encode(whole)))
    if wanted == before:
        return
    for each in settled:
        if _is_news(each, known.get(each.type)):
            yield Tell(_event(document, each, known.get(each.type)))
    yield SetStatus({**document, "status": wanted})


def _settled(found: Condition, before: Document | None, generation: int, now: str) -> Condition:
    """With the time since when it is so."""
    same = before is not None and before["status"] == found.status
    since = before["lastTransitionTime"] if same and before is not None else now
    return msgspec.structs.replace(found, observed_generation=generation, last_transition_time=since)


def _is_news(found: Condition, before: Document | None) -> bool:
    """Whether somebody who reads Events wants to know: it holds now, or does not, for another reason than before."""
    if found.status == "Unknown" or found.reason in ON_THE_WAY:
        return False
    if before is None:
        return found.status == "False"
    known = before["status"], before["reason"], before.get("message", "")
    return known != (found.status, found.reason, found.message) and "False" in (found.status, before["status"])


def _event(document: Document, found: Condition, before: Document | None) -> Document:
    since = before["lastTransitionTime"] if before is not None else ""
    told_by = [document["metadata"]["uid"], since, found.type, found.status, found.reason, found.message]
    good = found.status == "True"
    return event(
        document, digest_of(told_by), found.reason, found.message or found.reason, found.last_transition_time, good
    )


def event(document: Document, digest: str, reason: str, message: str, at: str, good: bool = False) -> Document:
    """What befalls an object. It is named by the digest of what it tells and since when that was otherwise: told twice, it is refused as being
    there already."""
    metadata = document["metadata"]
    who = {name: metadata[name] for name in ("name", "namespace", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {"apiVersion": document["apiVersion"], "kind": document["kind"], **who},
        "reason": reason,
        "message": message,
        "type": "Normal" if good else "Warning",
        "source": {"component": SOURCE},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


def _said(content: Any) -> Any:
    """Without what says nothing. Some builds of old API servers take an empty text for null, and refuse it."""
    if isinstance(content, dict):
        return {name: _said(value) for name, value in content.items() if value not in (None, "")}
    return [_said(each) for each in content] if isinstance(content, list) else content


def joined(texts: Iterable[str]) -> str:
    """Several messages as one, each once."""
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"
