"""The client library of whatever is fetched and sent, loaded at the first use of it: it brings a hundred modules along, which a gateway whose callers
never pull a model does without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synfire.base.later import Later

if TYPE_CHECKING:
    import httpx
else:
    httpx = Later("httpx")

__all__ = ["httpx"]
