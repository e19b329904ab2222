"""The threads that a worker was granted, for batches: a job is divided among them, request by request.

Programs of small models gain nothing from threads within one sample, which would wait for each other at every operator. The
samples of a batch do not: whichever thread is free takes the next piece of the job, and one that other processes keep from the
processor is waited for only at the end. The answers are the same bits in any case.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from weakref import WeakKeyDictionary

from synfire.worker.job import Job, Outcome
from synfire.worker.stage import Stage

WORTH_S = 0.5e-3
"""What a piece of a job should take at least, in seconds: to wake a thread, and to begin a piece, takes a tenth of that."""

PIECES = 2
"""How many pieces there are for each thread at most, so that one which began late takes fewer."""


class Hands:
    """Runs jobs by up to `threads` threads, the caller's among them. Other threads are begun when they are first of use."""

    def __init__(self, threads: int = 1) -> None:
        self._others = ThreadPoolExecutor(threads - 1, thread_name_prefix="hand") if threads > 1 else None
        self._sample_s: WeakKeyDictionary[Stage, float] = WeakKeyDictionary()

    def run(self, job: Job) -> tuple[list[Outcome], float]:
        """What `Job.run` gives, and raises, and the seconds until all of it was there."""
        began_s = time.perf_counter()
        pieces = self._divided(job)
        if len(pieces) == 1 or self._others is None:
            outcomes, busy_s = job.run()
            self._note(job, busy_s)
            return outcomes, busy_s
        work = _Work(pieces)
        others = [self._others.submit(work.do) for _ in range(min(len(pieces), _calls(job)) - 1)]
        try:
            work.do()
        finally:
            for other in others:
                if not other.cancel():
                    other.result()
        self._note(job, work.busy_s)
        return work.outcomes, time.perf_counter() - began_s

    def close(self) -> None:
        if self._others is not None:
            self._others.shutdown(wait=False, cancel_futures=True)

    def _divided(self, job: Job) -> list[Job]:
        """The job in pieces of about equal size, each of which is worth it; itself where two would not be."""
        calls = _calls(job)
        worth = int(job.samples * self._sample_s.get(job.stage, 0.0) / WORTH_S) if calls > 1 else 1
        count = min(len(job.visits), worth, PIECES * calls)
        if count < 2:
            return [job]
        bounds = [len(job.visits) * k // count for k in range(count + 1)]
        return [job.part(slice(start, end)) for start, end in pairwise(bounds)]

    def _note(self, job: Job, busy_s: float) -> None:
        self._sample_s[job.stage] = busy_s / job.samples


class _Work:
    """The pieces of a job, to be done by several threads, and what they gave; `busy_s` is what they took together."""

    def __init__(self, pieces: list[Job]) -> None:
        self._pieces = pieces
        self._left = deque(range(len(pieces)))
        self._done: dict[int, tuple[list[Outcome], float]] = {}

    def do(self) -> None:
        """Do pieces until none is left."""
        while True:
            try:
                place = self._left.popleft()
            except IndexError:
                return
            self._done[place] = self._pieces[place].run()

    @property
    def outcomes(self) -> list[Outcome]:
        return [each for place in sorted(self._done) for each in self._done[place][0]]

    @property
    def busy_s(self) -> float:
        return sum(busy_s for _, busy_s in self._done.values())


def _calls(job: Job) -> int:
    return job.stage.program.calls if job.stage.program is not None else 1


Run = Callable[[Job], tuple[list[Outcome], float]]
"""How jobs are run."""
