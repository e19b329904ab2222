"""What the decision before has found out, and need not find out again: it changes no decision, and makes one of thousands of objects quick.

Objects as they were seen are the same ones, `is`, until they change: whoever observes replaces them and never changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from synfire.kubernetes.controller.objects import key_of
from synfire.kubernetes.controller.observed import Document, Key
from synfire.kubernetes.controller.reading import Asked, wish

Spec = TypeVar("Spec", bound=msgspec.Struct)
Value = TypeVar("Value")


class Group:
    """Objects that are wanted together. `right` are those that were seen when nothing had to be done about them."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = tuple(documents)
        self.keys = tuple(map(key_of, self.documents))
        self.right: list[Document | None] = []

    def seen(self, made: Mapping[Key, Document]) -> list[Document | None]:
        """What is there in their places."""
        return list(map(made.get, self.keys))


class Memory:
    """Of one namespace. Each thing is remembered by its owner's uid, with what it was found from."""

    def __init__(self) -> None:
        self._asked: dict[str, Asked[Any]] = {}
        self._made: dict[str, tuple[Any, Group]] = {}
        self._settled: dict[str, tuple[Document, Any]] = {}
        self._values: dict[str, Any] = {}

    def read(self, document: Document, spec: type[Spec]) -> Asked[Spec]:
        """A custom resource in its type."""
        uid = document["metadata"]["uid"]
        known = self._asked.get(uid)
        if known is None or known.document is not document:
            known = self._asked[uid] = wish(document, spec)
        return known

    def made(self, owner: Document, found_from: Any, make: Callable[[], Iterable[Document]]) -> Group:
        """The objects of an owner: those of the last time where they would be made from the same."""
        uid = owner["metadata"]["uid"]
        known = self._made.get(uid)
        if known is None or known[0] != found_from:
            known = self._made[uid] = (found_from, Group(make()))
        return known[1]

    def same(self, name: str, value: Value) -> Value:
        """The value of the last time where it equals this one: whoever compares that once more sees at a glance that nothing has changed."""
        known: Value | None = self._values.get(name)
        if known is None or known != value:
            known = self._values[name] = value
        return known

    def is_settled(self, document: Document, found_from: Any) -> bool:
        """Whether nothing had to be done for an object when all was as now."""
        known = self._settled.get(document["metadata"]["uid"])
        return known is not None and known[0] is document and known[1] == found_from

    def settle(self, document: Document, found_from: Any) -> None:
        """Nothing had to be done for it."""
        self._settled[document["metadata"]["uid"]] = document, found_from

    def forget_others(self, documents: Collection[Document]) -> None:
        """Keep what belongs to custom resources that are still there. Nothing is looked for before there is more than these can have."""
        tables: tuple[dict[str, Any], ...] = (self._asked, self._made, self._settled)
        if all(len(table) <= len(documents) for table in tables):
            return
        owners = {each["metadata"]["uid"] for each in documents}
        for table in tables:
            for uid in [each for each in table if each not in owners]:
                del table[uid]
