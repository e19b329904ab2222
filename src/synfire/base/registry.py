"""Names to things, filled by dropping a file into a folder or by a third party's entry point."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from synfire.base.errors import Bug, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """A family of named things of one noun, e.g. operators.

    The modules of `package` and every entry point of `group` register what they hold with `add`, so a new member is one new file and no
    edit. They are imported at the first look-up; whatever is looked up by the name of its own module, written in any case, with or without
    underscores and hyphens, needs that one alone.
    """

    def __init__(self, noun: str, package: str, group: str) -> None:
        self.noun = noun
        self._package = package
        self._group = group
        self._things: dict[str, T] = {}
        self._there: set[str] = set()
        self._loading = self._loaded = False
        self._lock = threading.RLock()

    def add(self, name: str, thing: T) -> T:
        """Register `thing`; a name taken by another thing is a `Bug`."""
        if self._things.setdefault(name, thing) is not thing:
            raise Bug(f"two {self.noun}s are named {name!r}: {self._things[name]!r} and {thing!r}")
        return thing

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise UnknownName.among(self.noun, name, self._things)
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        if not self._loaded and name not in self._there:
            with self._lock:  # another thread must not look before all is there; what is loaded may look itself
                if not self._has_its_module(name):
                    self._load_all()
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            self._load_all()
        return iter(sorted(self._things))

    def get(self, name: str) -> T | None:
        return self._things[name] if name in self else None

    def _has_its_module(self, name: object) -> bool:
        """Whether the module of that name holds the thing of that name."""
        module = self._modules.get(_plain(str(name)))
        if module is None:
            return False
        importlib.import_module(f"{self._package}.{module}")
        if name not in self._things:
            return False
        self._there.add(str(name))
        return True

    @cached_property
    def _modules(self) -> Mapping[str, str]:
        """The package's modules by their names without underscores."""
        path = importlib.import_module(self._package).__path__
        return {_plain(module.name): module.name for module in pkgutil.iter_modules(path)}

    def _load_all(self) -> None:
        if self._loading:
            return
        self._loading = True
        for module in self._modules.values():
            importlib.import_module(f"{self._package}.{module}")
        for entry in entry_points(group=self._group):
            entry.load()
        self._loaded = True


def _plain(name: str) -> str:
    return name.translate(_NO_SIGNS).lower()


_NO_SIGNS = str.maketrans("", "", "-_")
