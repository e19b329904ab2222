"""Names to things, filled by dropping a file into a folder or by a third party's entry point."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from synfire.base.errors import Bug, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """A family of named things of one noun, e.g. operators.

    The modules of `package` are imported at the first look-up, then every entry point of `group`; each registers what
    it holds with `add`. So a new member is one new file and no edit.
    """

    def __init__(self, noun: str, package: str, group: str) -> None:
        self.noun = noun
        self._package = package
        self._group = group
        self._things: dict[str, T] = {}
        self._loading = self._loaded = False
        self._lock = threading.RLock()

    def add(self, name: str, thing: T) -> T:
        """Register `thing`; a name taken by another thing is a `Bug`."""
        if self._things.setdefault(name, thing) is not thing:
            raise Bug(f"two {self.noun}s are named {name!r}: {self._things[name]!r} and {thing!r}")
        return thing

    def __getitem__(self, name: str) -> T:
        self._load()
        if name not in self._things:
            raise UnknownName.among(self.noun, name, self._things)
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._things))

    def get(self, name: str) -> T | None:
        self._load()
        return self._things.get(name)

    def _load(self) -> None:
        if not self._loaded:
            with self._lock:  # another thread must not look before all is there; what is loaded may look itself
                self._load_all()

    def _load_all(self) -> None:
        if self._loading:
            return
        self._loading = True
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        for entry in entry_points(group=self._group):
            entry.load()
        self._loaded = True
