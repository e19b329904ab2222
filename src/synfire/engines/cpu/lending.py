"""Memory that is lent out and comes back by itself, when the last array in it is gone.

Fresh memory costs a page fault for every 4 KiB, more than the arithmetic that fills it. States and outputs belong to the
caller for as long as it likes, and mostly that is until the next block: so the same few pieces go round.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from synfire.ops import Array

_KEPT = 4
"""Free pieces that are kept."""


class Lender:
    """Lends pieces of one size, and forgets them when another size is asked for."""

    def __init__(self) -> None:
        self._free: deque[_Memory] = deque(maxlen=_KEPT)

    def lend(self, size: int) -> tuple[Array, int]:
        """`size` bytes with any contents, and their address."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = _Memory(size)
        if memory.size != size:
            self._free.clear()
            memory = _Memory(size)
        return np.asarray(_Loan(memory, self._free)), memory.address


_LENDERS: WeakValueDictionary[tuple[object, ...], Lender] = WeakValueDictionary()


def lender(*use: object) -> Lender:
    """The one who lends for this use: programs that are alike use the same few pieces."""
    return _LENDERS.setdefault(use, Lender())


class _Memory:
    """A piece, described as numpy wants it: to ask for that anew each time takes longer than all the rest."""

    def __init__(self, size: int) -> None:
        array = np.empty(size, np.uint8)
        self.size, self.described = size, array.__array_interface__
        self.address: int = self.described["data"][0]
        self._array = array


class _Loan:
    """What arrays in a piece have as their base: its end is the end of the last of them."""

    def __init__(self, memory: _Memory, free: deque[_Memory]) -> None:
        self._memory, self._free = memory, free
        self.__array_interface__: dict[str, Any] = memory.described

    def __del__(self) -> None:
        self._free.append(self._memory)
