"""Checksums of states, which lie in memory for long and travel: memory may lose a bit, and no hardware tells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xxhash

from synfire.ops import Array


def checksum(state: Mapping[str, Array]) -> int:
    """XXH3 in 64 bits of all arrays of a state, in the order of their names: one change in 2⁶⁴ would go unseen.

    Every state of every session is summed twice a call, which is why it is not a CRC: that takes eight times as long.
    """
    value = 0
    for name in sorted(state):
        value = xxhash.xxh3_64_intdigest(np.ascontiguousarray(state[name]).data, value)
    return value
