"""Checksums of states, which lie in memory for long and travel: memory may lose a bit, and no hardware tells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from xxhash import xxh3_64_intdigest

from synfire.ops import Array


def checksum(state: Mapping[str, Array]) -> int:
    """XXH3 in 64 bits of all arrays of a state, in the order of their names: one change in 2⁶⁴ would go unseen.

    Every state of every session is summed twice a call, which is why it is not a CRC: that takes eight times as long.
    """
    value = 0
    for name in sorted(state) if len(state) > 1 else state:
        octets = np.ascontiguousarray(state[name])
        value = xxh3_64_intdigest(octets, value)  # type: ignore[arg-type]  # an array is a buffer, which numpy's types do not say
    return value
