"""Workers that live, as far as anybody can see, but that other workers cannot reach."""

from __future__ import annotations

from collections.abc import Callable

from synfire.base.clock import Clock

UNREACHABLE_S = 0.3
"""How long others fail to reach a worker before it is of no use: as long as a silent one is waited for. A connection that
breaks once is opened again within milliseconds."""


class Blame:
    """Counts failures by the worker's address; `tell` is called with it when they have gone on for too long.

    Calls try again every few milliseconds, so a failure that comes long after the last one begins anew.
    """

    def __init__(self, clock: Clock, tell: Callable[[str], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._failing: dict[str, tuple[float, float]] = {}

    def failed(self, address: str) -> None:
        """A worker could not reach the one at `address`."""
        now_s = self._clock.now_s()
        since_s, last_s = self._failing.get(address, (now_s, now_s))
        if now_s - last_s > UNREACHABLE_S:
            since_s = now_s
        self._failing[address] = since_s, now_s
        if now_s - since_s >= UNREACHABLE_S:
            del self._failing[address]
            self._tell(address)
