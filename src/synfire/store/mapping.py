"""Files as read-only memory that all processes share: one copy, in the page cache, however many have mapped it."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAPPED_BYTES = 1 << 14
"""Smaller files are read: a mapping takes whole pages, and an entry of the kernel's for each."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def mapped(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, for as long as the array lives, also when the file is deleted. It must never be written to.

    No descriptor stays open, as one would with `mmap.mmap`: a worker maps more files than it may have open. Raises `OSError`.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < MAPPED_BYTES:
            return np.frombuffer(file.read(), np.uint8)
        address = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return np.asarray(_Mapping(address, size))


class _Mapping:
    """What arrays in a mapped file have as their base: its end is the end of the last of them."""

    def __init__(self, address: int, size: int) -> None:
        self._where = address, size
        self.__array_interface__: dict[str, Any] = {
            "data": (address, True),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        _LIBC.munmap(*self._where)
