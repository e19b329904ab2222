"""What a deployment leaves behind: processes, sockets, shared memory, files."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from synfire.bench.soak.processes import Seen, census

COMMON = (Path("/dev/shm"), Path("/run/netns"), Path("/sys/class/net"))
"""Where shared memory, network namespaces and network interfaces are, ours among others."""

KEPT = ("blobs", "catalog.sqlite", "darwin3-images")
"""What stays under SYNFIRE_HOME when nothing runs: the store, its catalog, and the images that were compiled for chips."""

_CLAIM = ".claim"


class Traces:
    """Where one deployment can leave something: its SYNFIRE_HOME, its folder for temporary files, and places that others use too.

    What is ours in the latter is known by the deployments' ids, which their claims tell, and by what their processes had mapped.
    """

    def __init__(self, home: Path, temporary: Path) -> None:
        self.home = home
        self.temporary = temporary
        self._addresses: set[str] = set()
        self._shared: set[str] = set()
        self._ids: set[str] = set()

    def listening(self, *addresses: str) -> None:
        """The deployment listens there: URLs, or `host:port`."""
        self._addresses |= set(addresses) - {""}

    def look(self) -> list[Seen]:
        """The deployment's processes now; what they use is kept in mind."""
        seen = census(self.home)
        self._shared |= {segment for each in seen for segment in each.shared}
        self._ids |= {each.stem for each in self.home.glob(f"run/*{_CLAIM}")}
        return seen

    def left(self) -> Iterator[str]:
        """What is still there though the deployment has ended, in words."""
        yield from (f"process: {each}" for each in census(self.home))
        yield from (f"file: {each}" for each in files(self.home) if each.relative_to(self.home).parts[0] not in KEPT)
        yield from (f"temporary file: {each}" for each in files(self.temporary))
        yield from (f"bound socket: {each}" for each in bound(self.home, self.temporary))
        yield from (f"listening at {each}" for each in sorted(self._addresses) if answers(each))
        yield from (f"in use: {each}" for place in COMMON for each in files(place) if self._ours(each))

    def stale(self) -> list[Path]:
        """The sockets in these places that nobody listens at any more."""
        return [
            each for place in (self.home, self.temporary) for each in files(place) if each.is_socket() and dead(each)
        ]

    def _ours(self, path: Path) -> bool:
        return str(path) in self._shared or any(id in path.name for id in self._ids)


def files(folder: Path) -> list[Path]:
    """Everything in the folder, and in its folders, that is no folder."""
    return sorted(each for each in folder.rglob("*") if each.is_symlink() or not each.is_dir())


def bound(*folders: Path) -> list[str]:
    """Unix sockets bound to paths in these folders, also where the file is gone."""
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines():
        path = line.split(None, 7)[7:]
        if path and any(path[0].lstrip("@").startswith(f"{folder}/") for folder in folders):
            found.add(path[0])
    return sorted(found)


def dead(path: Path) -> bool:
    """Whether the socket's file is there, and nobody listens at it."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:  # gone meanwhile, or its queue is full: somebody is there
            return False
    return False


def answers(address: str) -> bool:
    """Whether somebody takes connections at this URL or `host:port`."""
    where = urlsplit(address if "//" in address else f"//{address}")
    with suppress(OSError), socket.create_connection((where.hostname or "", where.port or 80), timeout=1):
        return True
    return False
