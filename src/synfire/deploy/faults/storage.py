"""Faults of what is kept under SYNFIRE_HOME: a corrupted blob, a full disk."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import UnknownName, UserError
from synfire.deploy.faults.fault import FAULTS, Act, Fault, Options, Scene, Tell
from synfire.deploy.folders import running_folders
from synfire.plan.costs import format_bytes
from synfire.store import BlobStore, write_atomically

FULL_S = 10.0
"""How long the disk stays full where nothing else is said."""

LARGEST_BYTES = 1 << 30
"""Free space beyond this is not filled: it is somebody's real disk, or a machine's memory."""

_CHUNK_BYTES = 1 << 24


class BlobCorrupt(Fault):
    name = "blob-corrupt"
    about = "flips all bits of the byte in the middle of a blob; a second time restores it"
    emulates = (
        "decay on the disk: the file has its length and its name, and other content than its digest says. Models that are being "
        "served have a second copy, which is left alone"
    )
    target = "the first digits of a blob's digest"
    on = "home"

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        store, digest = _only(target)
        path = store.path(digest)
        content = bytearray(path.read_bytes())
        if not content:
            raise UserError(f"blob {digest} is empty, so no byte of it can be flipped; choose another")
        place = len(content) // 2
        before, content[place] = content[place], content[place] ^ 0xFF
        write_atomically(path, bytes(content))  # a decaying disk changes nothing of what is in memory already
        tell(Act.now(f"byte {place} from {before:#04x} to {before ^ 0xFF:#04x} in {path}", digest))


class DiskFull(Fault):
    name = "disk-full"
    about = f"fills the file system of SYNFIRE_HOME for --for seconds (default {FULL_S:g}), then frees it again"
    emulates = (
        "a full disk, as it is: every write that needs room fails with ENOSPC. Only on a file system of its own with at most "
        f"{format_bytes(LARGEST_BYTES)} free, such as a small tmpfs: a disk that others use is not filled"
    )
    takes = ("for_s",)
    on = "home"

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        home = _own_disk(paths.home())
        with _filled(home / f"disk-full-{os.getpid()}") as (file, size):
            tell(Act.now(f"filled by {format_bytes(size)} in {file}", str(home)))
            time.sleep(FULL_S if options.for_s is None else options.for_s)
        tell(Act.now("freed again", str(home)))


FAULTS.add(BlobCorrupt.name, BlobCorrupt())
FAULTS.add(DiskFull.name, DiskFull())


def _only(prefix: str) -> tuple[BlobStore, str]:
    """The one blob whose digest begins so, and its store: a running deployment's, else that of SYNFIRE_HOME."""
    stores = [BlobStore(), *(BlobStore(folder / "blobs") for folder in running_folders())]
    found = {digest: store for store in stores for digest in store if digest.startswith(prefix)}
    if not found:
        known = (digest[:12] for store in stores for digest in store)
        raise UnknownName.among(f"blob in {', '.join(str(store.root) for store in stores)}", prefix, known)
    if len(found) > 1:
        raise UserError(
            f"{len(found)} blobs begin with {prefix!r} ({', '.join(each[:12] for each in sorted(found)[:5])}, …); give more digits"
        )
    ((digest, store),) = found.items()
    return store, digest


def _own_disk(home: Path) -> Path:
    """The folder, if filling its file system harms nobody else."""
    if not home.is_dir():
        raise UserError(f"there is no {home}; nothing runs under this SYNFIRE_HOME")
    shared = [place for place in ("/", tempfile.gettempdir(), str(Path.home())) if _same_disk(home, Path(place))]
    free = os.statvfs(home)
    if shared or free.f_bavail * free.f_frsize > LARGEST_BYTES:
        why = f"it also holds {shared[0]}" if shared else f"it has more than {format_bytes(LARGEST_BYTES)} free"
        raise UserError(
            f"the file system of {home} is not filled: {why}, and others would be hit. Mount a small one there first "
            f"(mount -t tmpfs -o size=64m tmpfs {home}), and start the deployment on it"
        )
    return home


def _same_disk(one: Path, other: Path) -> bool:
    return other.exists() and one.stat().st_dev == other.stat().st_dev


@contextmanager
def _filled(file: Path) -> Iterator[tuple[Path, int]]:
    """A file that takes all the room there is, for as long as the block lasts; and its size."""
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        yield file, _fill(descriptor)
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)


def _fill(descriptor: int) -> int:
    """Allocate in ever smaller pieces until not even the smallest fits."""
    size, chunk = 0, _CHUNK_BYTES
    while chunk >= 512:
        try:
            os.posix_fallocate(descriptor, size, chunk)
            size += chunk
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(f"the disk cannot be filled: {error.strerror}") from error
            chunk //= 2
    return size
