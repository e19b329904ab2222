"""Large blobs on their way in: written piece by piece, resumed after a kill or a full disk, by one process at a time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from synfire.base.errors import UserError
from synfire.store.blobs import BlobStore
from synfire.store.files import explained, sync_folder, write_atomically
from synfire.store.locks import free, open_alone

PIECE = 1 << 20
"""Bytes that are read and hashed at a time."""

STALE_S = 7 * 24 * 3600.0
"""How long what was never finished is kept, to be resumed."""


class WrongDigest(UserError):
    """Raised when what came is not what was announced; nothing of it is kept."""


class Incoming:
    """A blob that is being written. `key` is its digest, or a digest of where it comes from while its own is not known.

    What is there from an earlier try is kept: `size` bytes, which `validator` (an ETag, say) belongs to. Use it as a context:
    leaving it frees the lock and keeps what came, until `finish` makes a blob of it.
    """

    def __init__(self, blobs: BlobStore, key: str, waiting: Callable[[], None] = lambda: None) -> None:
        blobs.path(key)  # refuses what is no digest
        self._blobs = blobs
        self._path = _folder(blobs) / key
        self._notes = self._path.with_suffix(".from")
        self._waiting = waiting
        self._handle = -1
        self._hash = hashlib.sha256()
        self._hashed = 0
        self.size = 0

    def __enter__(self) -> Self:
        self._handle = open_alone(self._path, self._waiting)
        self.size = os.lseek(self._handle, 0, os.SEEK_END)
        return self

    def __exit__(self, *_: object) -> None:
        if self.size == 0 and self._path.exists():
            self._forget()
        os.close(self._handle)

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return self._path.parent

    @property
    def validator(self) -> str:
        """What was noted about the source with the first bytes; empty where nothing was."""
        try:
            return msgspec.json.decode(self._notes.read_bytes(), type=str)
        except (FileNotFoundError, msgspec.DecodeError):
            return ""

    def restart(self, validator: str = "") -> None:
        """Begin anew, with bytes that `validator` belongs to."""
        with explained(self._path, "write"):
            os.ftruncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)
        self._hash, self._hashed, self.size = hashlib.sha256(), 0, 0
        if validator:
            write_atomically(self._notes, msgspec.json.encode(validator))
        else:
            self._notes.unlink(missing_ok=True)

    def write(self, piece: bytes | memoryview) -> None:
        """Add bytes. Raises `TemporaryError` where the disk is full; what was written before stays."""
        view = memoryview(piece)
        while view:
            with explained(self._path, "write"):
                written = os.write(self._handle, view)
            if self._hashed == self.size:  # what was there before is read in the end, and once
                self._hash.update(view[:written])
                self._hashed += written
            self.size += written
            view = view[written:]

    def finish(self, digest: str = "") -> str:
        """Make it a blob, and return its digest. Raises `WrongDigest` where `digest` is given and is another."""
        self._hash_the_rest()
        found = self._hash.hexdigest()
        if digest and found != digest:
            self.restart()
            raise WrongDigest(
                f"what came has the digest {found[:12]}…, and {digest[:12]}… was announced; nothing of it is kept: try again, "
                "and if it stays so, ask where it comes from"
            )
        target = self._blobs.path(found)
        with explained(target, "write"):
            os.fsync(self._handle)
            os.fchmod(self._handle, 0o644)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._notes.unlink(missing_ok=True)
            self._path.rename(target)
            sync_folder(target.parent)
        return found

    def _hash_the_rest(self) -> None:
        with explained(self._path, "read"):
            while piece := os.pread(self._handle, PIECE, self._hashed):
                self._hash.update(piece)
                self._hashed += len(piece)

    def _forget(self) -> None:
        self._notes.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def put_file(blobs: BlobStore, path: Path, told: Callable[[int], None] = lambda _: None) -> str:
    """Copy a file of any size into the store and return its digest; what is there already is not copied.

    `told` hears of the bytes read. Raises `UserError` where it cannot be read, or changed meanwhile, and as `Incoming` does.
    """
    digest = file_digest(path, told)
    if digest in blobs:
        return digest
    with Incoming(blobs, digest) as incoming:
        if digest not in blobs:
            incoming.restart()
            with explained(path, "read"), path.open("rb") as file:
                while piece := file.read(PIECE):
                    incoming.write(piece)
            incoming.finish(digest)
    return digest


def file_digest(path: Path, told: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file of any size; `told` hears of the bytes read."""
    found = hashlib.sha256()
    with explained(path, "read"), path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
            told(len(piece))
    return found.hexdigest()


def sweep(blobs: BlobStore) -> None:
    """Remove what was begun a week ago or longer, and nobody writes now."""
    for part in _folder(blobs).glob("*"):
        try:
            stale = time.time() - part.stat().st_mtime > STALE_S
        except FileNotFoundError:
            continue
        if stale and free(part):
            part.unlink(missing_ok=True)


def _folder(blobs: BlobStore) -> Path:
    return blobs.root / "incoming"
