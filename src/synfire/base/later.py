"""A module that is loaded when something of it is needed first."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """What a module has, by name; each thing is looked up once. For what takes long to load, and few of the processes that import its user
    ever need."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self._module), name)
        setattr(self, name, found)
        return found
