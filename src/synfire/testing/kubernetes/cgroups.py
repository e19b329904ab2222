"""Control groups of one cluster: where its kubelets put containers, and by which all of its processes are found and ended.

Whatever a cluster begins is in a group of its machine from the start, and so is what that begins in turn. So nothing survives
unseen, also where the process that had made the cluster was killed. Both versions of control groups do, and both at a time, as far
as the kubelet and runc take them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from synfire.base.errors import TemporaryError

ENDING_S = 20.0
"""The kernel ends a process that is killed at once, unless it waits for a disk."""

PROGRAMS = "programs"
"""The group of a machine's own programs: in version 2 no group has both processes and groups below."""


class Group:
    """The groups of one name in all hierarchies; `name` may have a slash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folders = [hierarchy / name for hierarchy in _hierarchies()]

    def make(self) -> None:
        """Make them, and let groups below have what these have."""
        for hierarchy in _hierarchies():
            place = hierarchy
            for part in self.name.split("/"):
                _open(place)
                place /= part
                place.mkdir(exist_ok=True)
                _inherit(place)

    def enter(self) -> None:
        """Put this process in. For a child before it becomes its program."""
        number = str(os.getpid())
        for folder in self._folders:
            if _follows(folder):
                (folder / "cgroup.procs").write_text(number)

    @property
    def processes(self) -> set[int]:
        """Those in them, and in groups below."""
        found: set[int] = set()
        for folder in self._folders:
            for each in _below(folder):
                with contextlib.suppress(OSError):  # it is removed meanwhile
                    found.update(int(line) for line in (each / "cgroup.procs").read_text().split())
        return found - {0}

    def kill(self) -> None:
        """End all processes in them, as a machine does that loses its power. Raises `TemporaryError` where some do not end."""
        until_s = time.monotonic() + ENDING_S
        while left := self.processes:
            if time.monotonic() > until_s:
                raise TemporaryError(
                    f"processes {sorted(left)} of the control group {self.name} do not end; look at what they wait for"
                )
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            time.sleep(0.01)

    def remove(self) -> None:
        """Remove them with those below; their processes are gone."""
        for folder in self._folders:
            for each in reversed(list(_below(folder))):
                with contextlib.suppress(FileNotFoundError):
                    each.rmdir()


def _hierarchies() -> list[Path]:
    """Where they are mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            found.append(Path(before.split()[4]))
    return sorted(set(found))


def _follows(folder: Path) -> bool:
    """Whether it is in a hierarchy that is there to find processes by, and in which containers stay or go below: version 2, or `pids`."""
    unified = (folder / "cgroup.controllers").exists()
    return unified or (folder / "pids.max").exists()


def _below(folder: Path) -> Iterator[Path]:
    """The group and all below, each after what it is in."""
    if folder.is_dir():
        yield folder
        for each in sorted(folder.iterdir()):
            if each.is_dir():
                yield from _below(each)


def _open(folder: Path) -> None:
    """Let groups below have what this one has (version 2)."""
    if (folder / "cgroup.controllers").exists():
        for each in (folder / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):  # what cannot be handed down, the kubelet says
                (folder / "cgroup.subtree_control").write_text(f"+{each}")


def _inherit(folder: Path) -> None:
    """Without these a group takes no process, and they are not inherited (version 1)."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (folder / name).exists() and not (folder / "cgroup.controllers").exists():
            (folder / name).write_text((folder.parent / name).read_text())
