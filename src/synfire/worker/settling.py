"""When a worker that has just begun has come to rest: it is counted on, and what it is to build or to host is built and hosted.

Whoever begins workers anew one after the other, as Kubernetes does with a rollout of Pods, ends the next one when this one is ready. Were that as
soon as it listens, stages that a spare has taken over for it would still be on their way back, and the next one's had nobody who has built them.
"""

from __future__ import annotations

import math

from synfire.wire.messages import (
    AnyMessage,
    Host,
    Hosted,
    Keep,
    Keeping,
    Prepare,
    Prepared,
    Pulse,
    Relink,
    Unhost,
)

REST_S = 1.0
"""After so long without an order, in seconds, no other follows for now: a controller gives the next one within milliseconds."""

_ASKED, _ANSWERS = (Host, Keep, Prepare), (Hosted, Keeping, Prepared)
_OTHERS = (Pulse, Relink, Unhost)


class Settling:
    """Hears what the worker is told to do, and what it answers; once it has settled it stays so. Times are on one monotonic clock."""

    def __init__(self) -> None:
        self._owed = 0
        self._last_s = math.inf
        self._settled = False

    def asked(self, message: AnyMessage, now_s: float) -> None:
        """Somebody has told the worker something. Who counts on it asks for its heartbeats first of all."""
        if isinstance(message, _ASKED):
            self._owed += 1
        if isinstance(message, (*_ASKED, *_OTHERS)):
            self._last_s = now_s

    def answered(self, message: AnyMessage, now_s: float) -> None:
        """The worker has answered something."""
        if isinstance(message, _ANSWERS):
            self._owed -= 1
            self._last_s = now_s

    def over(self, now_s: float) -> bool:
        """Whether it has settled."""
        self._settled = self._settled or (self._owed <= 0 and now_s - self._last_s >= REST_S)
        return self._settled
