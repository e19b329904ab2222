"""What errors are in HTTP, at every door: the status, and the headers that belong to it."""

from __future__ import annotations

import math

from synfire.base.errors import (
    DeadlineExceeded,
    Overloaded,
    TemporaryError,
    Unauthenticated,
    UnknownName,
    UserError,
)
from synfire.base.keys import SCHEME

_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (Unauthenticated, 401),
    (UnknownName, 404),
    (UserError, 400),
    (Overloaded, 429),
    (TemporaryError, 503),
    (DeadlineExceeded, 504),
    (BaseException, 500),
)


def http_status(error: BaseException) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def ready_status(ready: bool) -> int:
    """The HTTP status of a health endpoint, of which some clients read nothing else."""
    return 200 if ready else 503


def extra_headers(error: BaseException) -> dict[str, str]:
    """Headers that an error's answer carries: when to come back, or what to show."""
    if isinstance(error, TemporaryError):
        return {"retry-after": str(math.ceil(error.retry_after_s))}
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": f'{SCHEME} realm="synfire"'}
    return {}
