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
"""Free pieces that are kept: those that came back last."""

_ROOMIER = 2
"""A piece may be so many times as large as what is asked for: batches differ from one to the next."""


class Lender:
    """Lends pieces of about one size, and forgets them when other sizes are asked for."""

    def __init__(self) -> None:
        self._free: deque[_Memory] = deque(maxlen=_KEPT)

    def lend(self, size: int) -> tuple[Array, int]:
        """At least `size` bytes with any contents, and their address."""
        memory = self._fitting(size) or _Memory(size)
        return np.asarray(_Loan(memory, self._free)), memory.address

    def _fitting(self, size: int) -> _Memory | None:
        for _ in range(_KEPT):
            try:
                memory = self._free.pop()
            except IndexError:  # there was none, or another thread has taken it
                return None
            if size <= memory.size <= _ROOMIER * size:
                return memory
            self._free.appendleft(memory)
        return None


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
