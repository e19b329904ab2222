"""Memory that programs use while they run, and leave with any contents: one piece for all programs of a thread."""

from __future__ import annotations

import threading

import numpy as np

from synfire.engines.cpu.reach import aligned
from synfire.ops import Array


class _Held(threading.local):
    """The piece that this thread has."""

    memory: Array = np.empty(0, np.uint8)


_HELD = _Held()


def scratch(size: int) -> Array:
    """At least `size` aligned bytes of the calling thread's. Nobody else uses them while one of its programs runs."""
    if _HELD.memory.size < size:
        _HELD.memory = aligned((size,), np.uint8)
    return _HELD.memory
