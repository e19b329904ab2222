"""A small disk of the soak's own, so that it can be filled: only root can have one, in a mount namespace that ends with it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "64m"
"""What a store of the digits' models needs several times over, and what is filled in a moment."""

_NEWNS, _REC, _PRIVATE, _DETACH = 0x00020000, 1 << 14, 1 << 18, 2
"""From <sched.h> and <sys/mount.h>."""


@contextmanager
def own_disk(folder: Path) -> Iterator[bool]:
    """A disk in memory at the folder, seen by this process and by those that it starts; false where there cannot be one.

    It vanishes at the end of the block, and with the last of the processes however they end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={SIZE},mode=755".encode()
    mounted = (
        os.geteuid() == 0
        and libc.unshare(_NEWNS) == 0
        and libc.mount(b"none", b"/", None, _REC | _PRIVATE, None) == 0
        and libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            libc.umount2(os.fsencode(folder), _DETACH)
