"""Settings from outside: by name, and no name in vain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from synfire.base.errors import UserError

T = TypeVar("T")


def read_settings(cls: type[T], noun: str, values: Mapping[str, Any]) -> T:
    """`cls(**values)` for a dataclass of settings. Raises `UserError` for a name that is no setting."""
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"there is no {noun} setting {unknown[0]!r}; known: {', '.join(known)}")
    return cls(**values)
