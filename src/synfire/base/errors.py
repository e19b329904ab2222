"""What can go wrong, by who has to act.

    SynfireError
    ├── UserError         the graph, the setting or the request is at fault: mend it and call again
    │   ├── UnknownName       nothing goes by that name here
    │   ├── Unauthenticated   the caller showed no key of this deployment
    │   ├── ContextExceeded   a prompt has more tokens than the language model can hold
    │   └── LossyImport       a conversion would change what the model does, and nobody allowed it
    ├── TemporaryError    nobody is at fault for long: wait `retry_after_s`, then call again
    │   ├── Overloaded        a queue is full; the request was not accepted
    │   └── Interrupted       a worker, a link or a route was lost on the way; the request can be replayed
    ├── DeadlineExceeded  the caller's own deadline passed before the answer was ready
    ├── PermanentError    this deployment cannot do it, now or later (hardware gone, blob corrupted)
    └── Bug               synfire broke a promise of its own

Every message says what happened, where, and what to do. A `UserError` is the caller's, a `PermanentError` the
operator's; a `TemporaryError` differs from it only in that waiting helps.
"""

from __future__ import annotations

from dataclasses import dataclass


class SynfireError(Exception):
    """The root of every error that synfire raises on purpose."""


class UserError(SynfireError, ValueError):
    """Raised for a bad graph, setting, file or request. The message names the part and the cure."""


class UnknownName(UserError):
    """Raised when a model, operator, worker or kind is asked for by a name that nobody registered."""

    @classmethod
    def among(cls, noun: str, name: str, known: object) -> UnknownName:
        names = ", ".join(sorted(str(each) for each in known)) or "none"  # type: ignore[attr-defined]
        return cls(f"there is no {noun} named {name!r}; known: {names}")


class Unauthenticated(UserError):
    """Raised when a caller shows no key, or a wrong one, to a deployment that has `SYNFIRE_API_KEY` set."""


class ContextExceeded(UserError):
    """Raised when a prompt has more tokens than a language model can hold. Nothing was computed."""


class LossyImport(UserError):
    """Raised when a conversion would change the model's behaviour. Name the loss in `allow=` to accept it."""

    def __init__(self, loss: str, message: str) -> None:
        super().__init__(f"{message}; pass allow={loss!r} (CLI: --allow {loss}) to accept this loss")
        self.loss = loss


class TemporaryError(SynfireError):
    """Raised when the same call may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(TemporaryError):
    """Raised before a request is accepted, when its queue is full. Nothing was computed."""


@dataclass(frozen=True)
class OutOfReach:
    """The worker `by` cannot reach the one at `address`, and has tried for `for_s` seconds."""

    address: str
    by: str
    for_s: float = 0.0


class Interrupted(TemporaryError):
    """Raised when a worker or a link was lost, or a route changed, while a request was on its way.

    Whoever holds the request's inputs can replay it from its beginning; nothing of it was answered twice. Where one worker
    could not reach another, `unreachable` says which.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0, unreachable: OutOfReach | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.unreachable = unreachable


class DeadlineExceeded(SynfireError):
    """Raised when the caller's deadline passed; unlike `TemporaryError` a repeat needs more time, not a pause."""


class PermanentError(SynfireError):
    """Raised when what is asked cannot be done by this deployment however often it is tried."""


class Bug(SynfireError):
    """Raised when synfire finds itself in a state that it promised never to reach. Please report it."""
