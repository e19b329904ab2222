"""Workers that live, as far as anybody can see, but that other workers cannot reach."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from synfire.base.clock import Clock
from synfire.base.errors import OutOfReach
from synfire.wire.links.silence import SILENT_S

UNREACHABLE_S = 0.3
"""How long a worker fails to reach another before one of them is of no use: as long as a silent one is waited for. A connection
that breaks once is opened again within milliseconds."""

MOST_TIMES = 3
"""So many times in a row a way may fail, each time for less than that, until it is of no use: where stages have replicas the next try takes
another way, and this one is not tried again before a later call's turn."""

LAPSE_S = 60.0
"""After how long a failure says nothing about the next one, in seconds."""

Direction = tuple[str, str]
"""The address of the one that is not reached, and the name of the other."""


class _Doubt(NamedTuple):
    """A way that has failed, and that nothing has come along since: when it did first, how often, and the last time from when until when."""

    first_s: float
    times: int
    since_s: float
    last_s: float


class Blame:
    """Counts failures by who cannot reach whom. When they have gone on for too long `tell` is called with the address of the one,
    the name of the other, and for how long that is.

    Calls try again every few milliseconds, so a failure that comes long after the last one is another one; it is forgotten when something
    has `passed` between these two. A connection that was silent for `SILENT_S` before it was given up has failed for long enough: the silence
    was the trying.
    """

    def __init__(self, clock: Clock, tell: Callable[[str, str, float], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._doubts: dict[Direction, _Doubt] = {}

    @property
    def doubted(self) -> Collection[Direction]:
        """The ways of which it is of use to know when something has come along them."""
        return self._doubts.keys()

    def failed(self, report: OutOfReach) -> None:
        """A worker could not reach another."""
        now_s, way = self._clock.now_s(), (report.address, report.by)
        known = self._doubts.get(way)
        if known is None or now_s - known.last_s > LAPSE_S:
            known = _Doubt(now_s, 1, now_s, now_s)
        elif now_s - known.last_s > UNREACHABLE_S:
            known = _Doubt(known.first_s, known.times + 1, now_s, now_s)
        self._doubts[way] = known = known._replace(last_s=now_s)
        failing_s = now_s - known.since_s + report.for_s
        if failing_s >= UNREACHABLE_S or report.for_s >= SILENT_S or known.times >= MOST_TIMES:
            del self._doubts[way]
            self._tell(*way, max(failing_s, now_s - known.first_s))

    def passed(self, way: Direction) -> None:
        """The one was reached by the other."""
        self._doubts.pop(way, None)
