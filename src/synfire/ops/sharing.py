"""Equal arrays kept once in a process: what models and their programs have in common takes memory once."""

from __future__ import annotations

import hashlib
from weakref import WeakValueDictionary

import numpy as np

from synfire.ops.signal import Array

_Key = tuple[str, str, tuple[int, ...], bytes]
_KNOWN: WeakValueDictionary[_Key, Array] = WeakValueDictionary()


def shared(array: Array, use: str = "") -> Array:
    """The array, or the one of equal format and content that came before it and is still in use.

    It is read-only from now on. Arrays are told apart by their `use` where an equal one would not do, such as one that
    lies elsewhere in memory than is wanted.
    """
    array.flags.writeable = False
    if array.dtype == object:
        return array
    content = hashlib.sha256(np.ascontiguousarray(array).data).digest()
    return _KNOWN.setdefault((use, array.dtype.str, array.shape, content), array)
