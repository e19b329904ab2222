"""Looking at processes, and tying them together. A number alone does not tell which: it is given away again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>: the signal that comes when the parent ends."""


def end_with_parent() -> None:
    """Have this process be told to end (SIGTERM) when its parent has, however that did. For a child before it becomes its program."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def born(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty when there is none of that number, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def busy_s(pid: int) -> float:
    """How long the process's threads have run on processors so far, in seconds, to a tick of the kernel (10 ms).

    Raises `FileNotFoundError` when there is none of that number.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def starved(pid: int) -> bool:
    """Whether a thread of the process is ready to run, and so is kept from a processor."""
    tasks = Path(f"/proc/{pid}/task")
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return any(each.read_text().rpartition(")")[2].split()[0] == "R" for each in tasks.glob("*/stat"))
    return False
