"""The Python environment that an engine's process runs in: synfire's own, or another one that has the engine's packages."""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from synfire.base.errors import PermanentError

BEGIN = Path(__file__).parent / "processes" / "begin.py"
"""Begins the processes of engines that have no server of their own."""


@dataclass(frozen=True)
class Environment:
    """Where `packages` are to be. `variable` names the interpreter of another environment than synfire's; `cure` says how they are had."""

    variable: str
    packages: tuple[str, ...]
    cure: str

    @property
    def python(self) -> str:
        """The interpreter."""
        return os.environ.get(self.variable) or sys.executable

    def missing(self) -> tuple[str, ...]:
        """Those of the packages that are not there. Raises `PermanentError` for an interpreter that does not run."""
        if self.python == sys.executable:
            return tuple(each for each in self.packages if not _there(each))
        return _missing(self.variable, self.python, self.packages)

    def folder(self, package: str) -> Path | None:
        """Where a package lies; None where it is not there. Raises as `missing` does."""
        found = _folder_of(package) if self.python == sys.executable else _told(self.variable, self.python, package)
        return Path(found) if found else None

    def refusal(self) -> str:
        """What is missing, and what to do; empty where nothing is. Raises as `missing` does."""
        missing = self.missing()
        if not missing:
            return ""
        return (
            f"{' and '.join(missing)} not installed for {self.python}: {self.cure}; or name the Python of an environment that has them in "
            f"{self.variable}"
        )


def _there(package: str) -> bool:
    """Whether it could be imported; to ask for a part of a package that is not there is an error."""
    parts = package.split(".")
    return all(importlib.util.find_spec(".".join(parts[: n + 1])) for n in range(len(parts)))


def _folder_of(package: str) -> str:
    """The folder of a package that can be imported; empty for none."""
    found = importlib.util.find_spec(package)
    return (found.submodule_search_locations or [""])[0] if found is not None else ""


@lru_cache(maxsize=16)
def _missing(variable: str, python: str, packages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_said(variable, python, _there, f"*(each for each in {packages!r} if not _there(each))").split())


@lru_cache(maxsize=16)
def _told(variable: str, python: str, package: str) -> str:
    return _said(variable, python, _folder_of, f"_folder_of({package!r})").strip()


def _said(variable: str, python: str, function: Callable[..., object], expression: str) -> str:
    """What that interpreter prints of an expression with the function in it."""
    code = f"import importlib.util\n{inspect.getsource(function)}\nprint({expression})"
    try:
        said = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PermanentError(f"{variable} is {python}, which does not run as a Python: {error}") from error
    return said.stdout
