"""Short turns on a processor, for threads that answer: on a busy machine they run sooner, and no less."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SHORT_S = 0.0001
"""The shortest turn that Linux grants."""

_PUT_GET = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""The numbers of `sched_setattr` and `sched_getattr`, for which C libraries have no names yet."""

_ATTRIBUTES = struct.Struct("IIQiIQQQ")
"""The first version of Linux' `struct sched_attr`: size, policy, flags, nice, priority, runtime, deadline, period."""

_POLICY, _RUNTIME = 1, 5


def take_short() -> bool:
    """Have this thread, and those that it begins from now on, take short turns; whether the kernel can do that.

    A fair scheduler gives whoever wakes up a turn before those whose turns are longer, so a thread that has little to do
    at a time waits for less behind one that computes without a pause; of their shares neither gets more. Linux has that since
    6.12; before, or elsewhere, nothing changes. A policy that somebody has chosen for this process stays.
    """
    found = _attributes(0)
    if found is None or found[_POLICY] != os.SCHED_OTHER:
        return False
    found[_RUNTIME] = round(SHORT_S * 1e9)
    put, _ = _PUT_GET[platform.machine()]
    return not ctypes.CDLL(None).syscall(put, 0, _ATTRIBUTES.pack(*found), 0) and turn_s() == SHORT_S


def turn_s(thread: int = 0) -> float | None:
    """How long the turns of this thread are, in seconds, or those of another one of this machine; None where the kernel does not say."""
    found = _attributes(thread)
    return found[_RUNTIME] / 1e9 or None if found is not None else None


def _attributes(thread: int) -> list[int] | None:
    """How the thread is scheduled."""
    numbers = _PUT_GET.get(platform.machine())
    if numbers is None:
        return None
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if ctypes.CDLL(None).syscall(numbers[1], thread, buffer, _ATTRIBUTES.size, 0):
        return None
    return list(_ATTRIBUTES.unpack(buffer.raw))
