"""Workers that live, as far as anybody can see, but that other workers cannot reach."""

from __future__ import annotations

from collections.abc import Callable

from synfire.base.clock import Clock
from synfire.base.errors import OutOfReach
from synfire.wire.links.silence import SILENT_S

UNREACHABLE_S = 0.3
"""How long a worker fails to reach another before one of them is of no use: as long as a silent one is waited for. A connection
that breaks once is opened again within milliseconds."""


class Blame:
    """Counts failures by who cannot reach whom. When they have gone on for too long `tell` is called with the address of the one,
    the name of the other, and for how long that is.

    Calls try again every few milliseconds, so a failure that comes long after the last one begins anew. A connection that was
    silent for `SILENT_S` before it was given up has failed for long enough: the silence was the trying.
    """

    def __init__(self, clock: Clock, tell: Callable[[str, str, float], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._failing: dict[tuple[str, str], tuple[float, float]] = {}

    def failed(self, report: OutOfReach) -> None:
        """A worker could not reach another."""
        now_s, way = self._clock.now_s(), (report.address, report.by)
        since_s, last_s = self._failing.get(way, (now_s, now_s))
        if now_s - last_s > UNREACHABLE_S:
            since_s = now_s
        self._failing[way] = since_s, now_s
        failing_s = now_s - since_s + report.for_s
        if failing_s >= UNREACHABLE_S or report.for_s >= SILENT_S:
            del self._failing[way]
            self._tell(*way, failing_s)
