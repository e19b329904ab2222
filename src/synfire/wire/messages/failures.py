"""Errors on their way to another process: as words in a message, and as the error again."""

from __future__ import annotations

from synfire.base.errors import (
    Bug,
    ContextExceeded,
    DeadlineExceeded,
    Interrupted,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    UnknownName,
    UserError,
)
from synfire.wire.messages.faults import Impaired, Injected
from synfire.wire.messages.gateways import Unwanted
from synfire.wire.messages.orders import Done, Spawned
from synfire.wire.messages.requests import Failure, Restored
from synfire.wire.messages.stages import Hosted, Keeping, Prepared, Relinked

_ERRORS: dict[str, type[SynfireError]] = {
    kind.__name__: kind
    for kind in (
        UserError,
        UnknownName,
        ContextExceeded,
        TemporaryError,
        Overloaded,
        Interrupted,
        DeadlineExceeded,
        PermanentError,
        Bug,
    )
}


def failure_of(request: str, error: BaseException) -> Failure:
    """The message that carries `error` to another process; what is no `SynfireError` arrives as a `Bug`."""
    kind, text = error_words(error)
    return Failure(request, kind, text, getattr(error, "retry_after_s", 1.0), getattr(error, "unreachable", None))


def error_words(error: BaseException) -> tuple[str, str]:
    """The error's kind, as an error of `synfire.base.errors`, and its text."""
    for each in type(error).__mro__:
        if each.__name__ in _ERRORS:
            return each.__name__, str(error)
    return Bug.__name__, f"{type(error).__name__}: {error}; please report this with the model that caused it"


def error_of(
    failure: Done
    | Failure
    | Hosted
    | Impaired
    | Injected
    | Keeping
    | Prepared
    | Relinked
    | Restored
    | Spawned
    | Unwanted,
) -> SynfireError:
    """The error again, of the class that it had."""
    kind = _ERRORS.get(failure.kind, Bug)
    if issubclass(kind, Interrupted):
        return kind(failure.text, getattr(failure, "retry_after_s", 1.0), getattr(failure, "unreachable", None))
    if issubclass(kind, TemporaryError):
        return kind(failure.text, getattr(failure, "retry_after_s", 1.0))
    return kind(failure.text)
