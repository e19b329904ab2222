"""The threads that a program was granted, beside the one that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from synfire.engines.cpu.player import play_together
from synfire.ops import Array

ENOUGH = 1 << 26
"""Synaptic operations at full density from which a second thread pays: to wake it takes some 50 µs."""


class Team:
    """Plays tapes by `threads` threads, the caller's among them. It holds nothing of a program."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def play(self, tapes: Sequence[Array], batch: int, group: int, before: int, after: int, state_bytes: int) -> None:
        """Play one tape together: `tapes` are its copies, one a thread, that differ in where each of them sums."""
        claims = np.zeros((-(-batch // group), len(tapes[0]) + 1, 2), np.int64)
        rest = batch, group, before, after, state_bytes, int(claims.ctypes.data)
        others = [_threads(self.threads - 1).submit(play_together, each, *rest) for each in tapes[1:]]
        play_together(tapes[0], *rest)
        for other in others:
            if not other.cancel():
                other.result()


@lru_cache(None)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="synfire-kernel")
