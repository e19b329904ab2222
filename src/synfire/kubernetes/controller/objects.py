"""Objects of Kubernetes as data: what they are called, who owns them, and whether one is as it should be."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from synfire.kubernetes.controller.observed import MANAGED, Document, Key

STAMP = "synfire.dev/wanted"
"""An annotation with the digest of what was wanted: by it a field that is wanted no more is noticed."""

TEMPLATE = "synfire.dev/template"
"""An annotation of a StatefulSet with the digest of its Pod template as it was wanted: by it is known what begins Pods anew."""

LONGEST = 63

_OURS = ("synfire/", "synfire.dev/")
"""How annotations of ours begin."""

_OF_ACCOUNTS = ("imagePullSecrets", "secrets")
"""What others write on a ServiceAccount: who pulls images from a registry of theirs, and old releases, which note its token."""


def key_of(document: Document) -> Key:
    return Key(document["kind"], document["metadata"]["name"])


def digest_of(content: Any) -> str:
    """Equal for equal content."""
    return hashlib.blake2b(msgspec.json.encode(content, order="sorted"), digest_size=8).hexdigest()


def stamped(document: Document, owner: Document | None = None) -> Document:
    """The object with our label, its owner, and the digest of all that."""
    metadata = dict(document["metadata"])
    metadata["labels"] = {**metadata.get("labels", {}), **MANAGED}
    if owner is not None:
        metadata["ownerReferences"] = [reference(owner)]
    marked = {**document, "metadata": metadata}
    annotations = {**metadata.get("annotations", {}), STAMP: digest_of(marked)}
    if document["kind"] == "StatefulSet":
        annotations[TEMPLATE] = digest_of(document["spec"]["template"])
    return {**marked, "metadata": {**metadata, "annotations": annotations}}


def reference(owner: Document) -> Document:
    """Kubernetes deletes what refers so to an object that has gone."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_ours(seen: Document) -> bool:
    """Whether the controller has made it. Our label alone says little: Kubernetes gives the labels of a Service to the Endpoints that it keeps
    for it."""
    return STAMP in seen["metadata"].get("annotations", {})


def is_as(wanted: Document, seen: Document) -> bool:
    """Whether an object is as it is wanted: the stamp is the same, and nobody has changed what it stands for. What the API server
    has filled in besides is its own affair."""
    stamps = (each["metadata"].get("annotations", {}).get(STAMP) for each in (wanted, seen))
    return len(set(stamps)) == 1 and _within(_content(wanted), _content(seen))


def begins_anew(wanted: Document, seen: Document) -> bool:
    """Whether Kubernetes has to begin the Pods of a StatefulSet anew for it to be as it is wanted. One that was made before templates had
    digests is taken to."""
    digests = (each["metadata"].get("annotations", {}).get(TEMPLATE) for each in (wanted, seen))
    return len(set(digests)) > 1 or not _within(wanted["spec"]["template"], seen["spec"]["template"])


def merged(wanted: Document, seen: Document) -> Document:
    """What to write in the place of the object that was seen: ours, with what others have noted on it, or added to it for Pods."""
    before, ours = seen["metadata"], wanted["metadata"]
    metadata = {
        **{name: before[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in before},
        "labels": {**before.get("labels", {}), **ours.get("labels", {})},
        "annotations": {**before.get("annotations", {}), **ours.get("annotations", {})},
    }
    if before.get("finalizers"):
        metadata["finalizers"] = before["finalizers"]
    if "ownerReferences" in ours:
        metadata["ownerReferences"] = ours["ownerReferences"]
    document = {**wanted, "metadata": metadata}
    if wanted["kind"] == "Service":
        kept = {name: seen["spec"][name] for name in ("clusterIP", "clusterIPs") if name in seen.get("spec", {})}
        document["spec"] = {**wanted["spec"], **kept}
    elif wanted["kind"] == "ServiceAccount":
        document = {**{name: seen[name] for name in _OF_ACCOUNTS if name in seen}, **document}
    elif wanted["kind"] == "StatefulSet":
        document["spec"] = {**wanted["spec"], "template": _noted(wanted["spec"]["template"], seen["spec"]["template"])}
    return document


def _noted(wanted: Document, seen: Document) -> Document:
    """A Pod template with the annotations of others, such as that of `kubectl rollout restart`: without it Pods would be begun anew once more."""
    before = seen.get("metadata", {}).get("annotations") or {}
    others = {name: value for name, value in before.items() if not name.startswith(_OURS)}
    if not others:
        return wanted
    metadata = wanted["metadata"]
    return {**wanted, "metadata": {**metadata, "annotations": {**others, **metadata.get("annotations", {})}}}


def suits(name: str) -> bool:
    """Whether Kubernetes takes it as a label's value or a Service's name."""
    return bool(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name))


def called(*parts: str) -> str:
    """A name of an object, made of parts that may hold anything, with `--` between them. Different parts never get one name: where
    characters or length do not fit, a digest of the parts stands at the end."""
    plain = "--".join(parts)
    if suits(plain) and all("--" not in each and each == each.strip("-") for each in parts):
        return plain
    cleaned = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "x"
    cleaned = cleaned if cleaned[0].isalpha() else f"x-{cleaned}"
    return f"{cleaned[: LONGEST - 9].rstrip('-')}-{digest_of(parts)[:8]}"


def _content(document: Document) -> Document:
    metadata = {
        name: document["metadata"][name] for name in ("labels", "ownerReferences") if name in document["metadata"]
    }
    content = {
        name: value for name, value in document.items() if name not in ("metadata", "status", "apiVersion", "kind")
    }
    return {**content, "metadata": metadata}


def _within(wanted: Any, seen: Any) -> bool:
    """Whether everything wanted is there. The API server leaves empty things out."""
    if isinstance(wanted, dict):
        if not isinstance(seen, dict):
            return not wanted and seen is None
        return all(_within(value, seen.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not wanted:
            return not seen
        return isinstance(seen, list) and len(seen) == len(wanted) and all(map(_within, wanted, seen))
    return bool(wanted == seen) or (seen is None and wanted in ("", 0, False))
