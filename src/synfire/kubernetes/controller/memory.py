"""What the decision before has found out, and need not find out again: it changes no decision, and makes one of thousands of objects quick.

Objects as they were seen are the same ones, `is`, until they change: whoever observes replaces them and never changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from synfire.kubernetes.controller.objects import is_as, key_of
from synfire.kubernetes.controller.observed import Document, Key


class Memory:
    """Of one namespace. Each thing is remembered by its owner's uid, or its own key, with what it was found from."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, tuple[Document, ...]]] = {}
        self._right: dict[Key, tuple[Document, Document]] = {}
        self._settled: dict[str, tuple[Document, Any]] = {}

    def made(self, owner: Document, found_from: Any, make: Callable[[], Iterable[Document]]) -> tuple[Document, ...]:
        """The objects of an owner: those of the last time where they would be made from the same."""
        uid = owner["metadata"]["uid"]
        known = self._made.get(uid)
        if known is None or known[0] != found_from:
            known = self._made[uid] = (found_from, tuple(make()))
        return known[1]

    def is_as(self, wanted: Document, seen: Document) -> bool:
        """Whether an object is as it is wanted."""
        key = key_of(wanted)
        known = self._right.get(key)
        if known is not None and known[0] is wanted and known[1] is seen:
            return True
        right = is_as(wanted, seen)
        if right:
            self._right[key] = wanted, seen
        return right

    def is_settled(self, document: Document, found_from: Any) -> bool:
        """Whether nothing had to be done for an object when all was as now."""
        known = self._settled.get(document["metadata"]["uid"])
        return known is not None and known[0] is document and known[1] == found_from

    def settle(self, document: Document, found_from: Any) -> None:
        """Nothing had to be done for it."""
        self._settled[document["metadata"]["uid"]] = document, found_from

    def forget_others(self, keys: Iterable[Key], uids: Iterable[str]) -> None:
        """Keep what is still there."""
        kept, owners = set(keys), set(uids)
        for known in [each for each in self._right if each not in kept]:
            del self._right[known]
        for table in (self._made, self._settled):
            for uid in [each for each in table if each not in owners]:
                del table[uid]
