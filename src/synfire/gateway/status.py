"""Errors become HTTP and gRPC status codes: those of the gateway here, the rest of HTTP as at every door."""

from __future__ import annotations

import grpc

from synfire.base.errors import (
    DeadlineExceeded,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    Unauthenticated,
    UnknownName,
    UserError,
)
from synfire.wire import status


class TooLarge(UserError):
    """Raised when a request is longer than the gateway reads; split it, or raise the limit that the message names."""


class SlowBody(UserError):
    """Raised when the body did not arrive in time; unlike `DeadlineExceeded` no call was accepted yet."""


class WrongMethod(UserError):
    """Raised when the path exists, but not for this HTTP method; `allowed` are those that it has."""

    def __init__(self, method: str, path: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{path} does not take {method}; use {' or '.join(allowed)}")
        self.allowed = allowed


class NotSupported(PermanentError):
    """Raised for a part of a protocol that this deployment does not offer; the message names the way that works."""


OK = 200
ACCEPTED = 202
"""It is noted, and comes about later."""
PARTIAL = 206
"""A part of a file, as the caller asked for."""
UNSATISFIABLE = 416
"""A part of a file that it has not."""
UNAUTHENTICATED = status.http_status(Unauthenticated())

_HTTP: tuple[tuple[type[BaseException], int], ...] = (
    (TooLarge, 413),
    (SlowBody, 408),
    (WrongMethod, 405),
    (NotSupported, 501),
)
_GRPC: tuple[tuple[type[BaseException], grpc.StatusCode], ...] = (
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (UnknownName, grpc.StatusCode.NOT_FOUND),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (SlowBody, grpc.StatusCode.DEADLINE_EXCEEDED),
    (WrongMethod, grpc.StatusCode.UNIMPLEMENTED),
    (UserError, grpc.StatusCode.INVALID_ARGUMENT),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (TemporaryError, grpc.StatusCode.UNAVAILABLE),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NotSupported, grpc.StatusCode.UNIMPLEMENTED),
    (PermanentError, grpc.StatusCode.FAILED_PRECONDITION),
    (BaseException, grpc.StatusCode.INTERNAL),
)

REASONS: dict[int, str] = {
    OK: "done",
    400: "the request is at fault; the error says where",
    UNAUTHENTICATED: "no key was shown, or a wrong one",
    404: "no such model, version or path",
    405: "the path does not take this method",
    408: "the body did not arrive in time",
    UNSATISFIABLE: "the file ends before the part that was asked for",
    413: "the request is longer than the gateway's limit",
    429: "the model's queue is full; retry after the time in Retry-After",
    500: "this deployment failed",
    501: "this deployment does not offer that",
    503: "not ready, shutting down, or a worker was lost; retry after the time in Retry-After",
    504: "the deadline passed",
}
"""Every HTTP status that the gateway answers with, and what it means."""


def http_status(error: BaseException) -> int:
    """The HTTP status of an error."""
    own = next((http for kind, http in _HTTP if isinstance(error, kind)), None)
    return own or status.http_status(error)


def grpc_status(error: BaseException) -> grpc.StatusCode:
    """The gRPC status of an error."""
    return next(code for kind, code in _GRPC if isinstance(error, kind))


def is_ours(error: BaseException) -> bool:
    """Whether the error is nobody's on purpose, and belongs in the log with its traceback."""
    return not isinstance(error, SynfireError) or http_status(error) == http_status(BaseException())


def extra_headers(error: BaseException) -> list[tuple[bytes, bytes]]:
    """Headers that an error's answer carries: when to come back, what to show or to use instead, whether the connection ends."""
    if isinstance(error, WrongMethod):
        return [(b"allow", ", ".join(error.allowed).encode())]
    if isinstance(error, (TooLarge, SlowBody)):
        return [(b"connection", b"close")]
    return [(name.encode(), value.encode()) for name, value in status.extra_headers(error).items()]


def error_text(error: BaseException) -> str:
    """What the caller reads. An error that synfire did not foresee is named, and where to look for it."""
    if isinstance(error, SynfireError):
        return str(error)
    return f"unforeseen {type(error).__name__}: {error}; the gateway's log has the details, please report it"
