"""What the controller does next: frozen data, in the order in which it is done."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.kubernetes.controller.deployment import Call
from synfire.kubernetes.controller.observed import Document, Key


@dataclass(frozen=True)
class EnsureSecret:
    """Have the deployment's keys drawn, where nobody has; keys that are there stay."""

    name: str


@dataclass(frozen=True)
class Create:
    document: Document


@dataclass(frozen=True)
class Replace:
    """Put the document in the place of the version that it names; somebody else's change in between is a conflict."""

    document: Document


@dataclass(frozen=True)
class Delete:
    """Delete the very object that was seen, and none that has taken its name since; `at_once`, without waiting for its node to end it."""

    api: str
    key: Key
    uid: str
    at_once: bool = False


@dataclass(frozen=True)
class SetStatus:
    """Tell users of a custom resource how it is."""

    document: Document


@dataclass(frozen=True)
class SetFinalizers:
    """Have a custom resource wait for us before it goes, or no longer."""

    document: Document


@dataclass(frozen=True)
class MarkPod:
    """Labels and annotations of a Pod; None takes one away."""

    name: str
    labels: dict[str, str | None]
    annotations: dict[str, str | None]


@dataclass(frozen=True)
class Tell:
    """An Event. Its name follows from what it tells, so that it is told once."""

    document: Document


@dataclass(frozen=True)
class Ask:
    """A call of the deployment, on behalf of an object."""

    call: Call
    of: Key


Action = EnsureSecret | Create | Replace | Delete | SetStatus | SetFinalizers | MarkPod | Tell | Ask
