"""Triton's model repositories on the command line: what is in them, as if it had been named one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.triton import is_repository, references


def unfolded(models: Sequence[str]) -> list[str]:
    """The references, with each repository among them replaced by what it serves. Raises `UserError` for one that is given a name, and for
    what in it cannot be served."""
    found: list[str] = []
    for each in models:
        name, _, path = each.rpartition("=")
        if not is_repository(Path(path)):
            found.append(each)
        elif name:
            raise UserError(f"{each}: a repository holds models of names of their own; leave {name}= out")
        else:
            found += references(Path(path))
    return found
