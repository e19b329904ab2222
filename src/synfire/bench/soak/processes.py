"""The processes of one deployment, found by the SYNFIRE_HOME that they were started with: also those that nobody names any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from synfire.base.processes import born

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seen:
    """A process at one moment: its role, how long it has lived, and what it holds."""

    pid: int
    born: str
    role: str
    age_s: float
    rss_bytes: int
    files: int
    shared: frozenset[str] = frozenset()
    """Shared memory segments that it has mapped."""

    def __str__(self) -> str:
        return f"{self.role} (process {self.pid}, {self.age_s:.0f} s old, {self.rss_bytes / 2**20:.0f} MiB)"


def census(home: Path) -> list[Seen]:
    """Every process that lives with this SYNFIRE_HOME, in the order of their numbers."""
    wanted = f"SYNFIRE_HOME={home}".encode()
    return [seen for pid in _pids() if _belongs(pid, wanted) and (seen := _seen(pid)) is not None]


def unburied(pids: set[int]) -> list[int]:
    """The ended children of these processes that nobody has waited for."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            state, parent = _fields(pid)[:2]
            if state == "Z" and int(parent) in pids:
                found.append(pid)
    return found


def kill(process: Seen) -> bool:
    """End it at once, unless it has ended already, and its number may be another's."""
    if born(process.pid) != process.born:
        return False
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def role_of(words: list[str]) -> str:
    """What a process is for, by its command line: the verb of `synfire`, or the module that it runs."""
    if "-m" not in words[:-1]:
        return Path(words[0]).name if words else "unknown"
    module, *rest = words[words.index("-m") + 1 :]
    if module == "synfire":
        return rest[0] if rest else module
    return module.removeprefix("synfire.").rpartition(".")[2]


def _pids() -> Iterator[int]:
    return (int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal())


def _belongs(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is somebody else's
        return False


def _seen(pid: int) -> Seen | None:
    folder = Path(f"/proc/{pid}")
    try:
        words = [each.decode(errors="replace") for each in (folder / "cmdline").read_bytes().split(b"\0")]
        age_s = float(Path("/proc/uptime").read_text().split()[0]) - int(_fields(pid)[19]) / _TICKS_S
        pages = int((folder / "statm").read_text().split()[1])
        files = len(os.listdir(folder / "fd"))
        maps = (folder / "maps").read_text().splitlines()
    except OSError:
        return None
    shared = frozenset(line.split(None, 5)[-1].removesuffix(" (deleted)") for line in maps if "/dev/shm/" in line)
    since = born(pid)
    return Seen(pid, since, role_of(words), age_s, pages * _PAGE_BYTES, files, shared) if since else None


def _fields(pid: int) -> list[str]:
    """What the kernel tells of a process after its name: its state first, its parent second."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
