"""What this machine has to give to a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from synfire.devices import DEVICES

WORKER_BYTES = 150_000_000
"""What a worker process takes before it hosts anything: the interpreter, numpy, and the machine code of the kernels."""

_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """`workers` of `limit_bytes` each may be used (None: no limit of their own); `free_bytes` is what all may take."""

    workers: int
    cores: int
    free_bytes: int
    limit_bytes: int | None = None

    @classmethod
    def here(cls, workers: int = 2, limit_bytes: int | None = None) -> Machine:
        """This machine as it is now."""
        return cls(workers, DEVICES["cpu"].describe().cores, free_bytes(), limit_bytes)


def free_bytes() -> int:
    """Memory that a new process could have: what the kernel calls available, or what the control group leaves."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    available = 1024 * int(found[1]) if found else DEVICES["cpu"].describe().memory_bytes
    limit, used = _read(_GROUP / "memory.max").strip(), _read(_GROUP / "memory.current").strip()
    if not (limit.isdecimal() and used.isdecimal()):
        return available
    cached = re.search(r"^inactive_file (\d+)", _read(_GROUP / "memory.stat"), re.MULTILINE)
    return min(available, max(int(limit) - int(used) + (int(cached[1]) if cached else 0), 0))


def _read(file: Path) -> str:
    """The file's text, or nothing where this system has no such file."""
    return file.read_text() if file.is_file() else ""
