"""Custom resources, read into their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from synfire.kubernetes.controller.observed import Document
from synfire.kubernetes.resources import KINDS

Spec = TypeVar("Spec", bound=msgspec.Struct)


@dataclass(frozen=True)
class Asked(Generic[Spec]):
    """An object that a user made, and what it says; None where that cannot be read, and `mistake` says why."""

    document: Document
    spec: Spec | None
    mistake: str = ""

    @property
    def name(self) -> str:
        found: str = self.document["metadata"]["name"]
        return found

    @property
    def is_going(self) -> bool:
        """Whether somebody has deleted it, and it waits for its finalizers."""
        return "deletionTimestamp" in self.document["metadata"]


def wish(document: Document, spec: type[Spec]) -> Asked[Spec]:
    """One object."""
    try:
        return Asked(document, msgspec.convert(document.get("spec", {}), spec))
    except msgspec.ValidationError as error:
        return Asked(document, None, f"{error}; `kubectl explain {_plural(document)}.spec` tells what it takes")


def _plural(document: Document) -> str:
    return next(each.plural for each in KINDS if each.name == document["kind"])
