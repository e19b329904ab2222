"""Checksums of states, which lie in memory for long and travel: memory may lose a bit, and no hardware tells."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from synfire.ops import Array


def checksum(state: Mapping[str, Array]) -> int:
    """The CRC-32 of all arrays of a state, in the order of their names: it tells every flip within 32 bits in a row."""
    value = 0
    for name in sorted(state):
        value = zlib.crc32(np.ascontiguousarray(state[name]).data, value)
    return value
