"""Telling processes apart: a number alone is given away again."""

from __future__ import annotations

from pathlib import Path


def born(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty when there is none of that number, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
