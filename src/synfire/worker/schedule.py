"""Whose block a worker computes next.

**Order.** Of all blocks that can be computed, the one of the request that arrived first goes first, and within a request
the one furthest downstream. So a request runs depth-first through the stages that live here, its frames leave for other
workers as early as they can, and nobody starves.

**Batches.** Others that wait at the chosen stage with as many steps go along, up to `max_batch` samples.
"""

from __future__ import annotations

import heapq
import itertools
import math

from synfire.worker.settings import Settings
from synfire.worker.stage import Block, Visit


class Schedule:
    """The visits that have a block to compute. Each is among its stage's `ready` until it is taken out or dropped."""

    def __init__(self, settings: Settings) -> None:
        self.wake_s = math.inf
        self._settings = settings
        self._heap: list[tuple[int, int, int, Visit]] = []
        self._entries = itertools.count()

    @property
    def empty(self) -> bool:
        """Whether there is surely nothing to take out."""
        return not self._heap

    def add(self, visit: Visit) -> None:
        """Note that a block of the visit can be computed, if so. Raises `Bug`; see `Visit.block`."""
        if visit in visit.stage.ready:
            return
        block = visit.block()
        if block is not None:
            visit.stage.ready[visit] = block
            heapq.heappush(self._heap, (visit.request.turn, -visit.stage.depth, next(self._entries), visit))

    def drop(self, visit: Visit) -> None:
        """The visit is over."""
        visit.stage.ready.pop(visit, None)

    def take(self, now_s: float) -> dict[Visit, Block]:
        """Take out visits whose blocks shall be computed together now; without any, ask again at `wake_s` or when
        something has arrived."""
        self.wake_s = math.inf
        early = []
        company: list[Visit] = []
        while self._heap and not company:
            entry = heapq.heappop(self._heap)
            visit = entry[-1]
            if visit not in visit.stage.ready:
                continue
            if self._waits_for_company(visit, now_s):
                early.append(entry)
            else:
                company = self._company(visit)
        for entry in early:
            heapq.heappush(self._heap, entry)
        return {visit: visit.stage.ready.pop(visit) for visit in company}

    def _waits_for_company(self, visit: Visit, now_s: float) -> bool:
        wait_s = self._settings.batch_wait_s
        if not wait_s or visit.number or not visit.external or visit.stage.single:
            return False
        company = sum(each.batch for each in visit.stage.ready)
        until_s = visit.arrived_s + wait_s
        if company >= self._settings.max_batch or until_s <= now_s:
            return False
        self.wake_s = min(self.wake_s, until_s)
        return True

    def _company(self, first: Visit) -> list[Visit]:
        """`first`, and those that can be computed together with it, the oldest first."""
        if first.stage.single or len(first.stage.ready) == 1:
            return [first]
        wanted, room = _likeness(first), self._settings.max_batch - first.batch
        company = [first]
        for visit in sorted(first.stage.ready, key=lambda each: each.request.turn):
            if visit is not first and visit.batch <= room and _likeness(visit) == wanted:
                company.append(visit)
                room -= visit.batch
        return company


def _likeness(visit: Visit) -> tuple[int, bool, bool]:
    """What blocks that are computed together agree in: their length, and the names of their inputs and states."""
    begins = visit.number == 0
    goes_on = begins and bool(visit.first.session) and not visit.first.start
    return visit.stage.ready[visit].steps, begins and visit.stage.untimed, goes_on
