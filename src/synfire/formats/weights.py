"""Files of weights by the digest of their content, wherever they lie: in the store, where the user has them, or kept of another machine's.

A file of gigabytes is not copied to be served. What is kept, under `SYNFIRE_CACHE`, is where the content of a digest was found, and
how large and how old the file was then: it is read again to make sure only where that has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from synfire.base import paths
from synfire.base.errors import UserError
from synfire.store import BlobStore, write_atomically
from synfire.store.files import explained
from synfire.store.kept import KeptBlobs


class _Seen(msgspec.Struct, frozen=True):
    """A file whose content has been read: `bytes` long, and last changed at `changed_ns`."""

    path: str
    digest: str
    bytes: int
    changed_ns: int
    file: int

    @property
    def unchanged(self) -> bool:
        try:
            found = Path(self.path).stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns, found.st_ino) == (self.bytes, self.changed_ns, self.file)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, which can be `located` by it from now on. Raises `UserError` when it cannot be read."""
    path = path.absolute()
    if known_digest := BlobStore().digest(path):
        return known_digest
    known = _remembered(_by_path(path))
    if known is None or not known.unchanged:
        known = _read(path)
        for note in (_by_path(path), _by_digest(known.digest)):
            write_atomically(note, msgspec.json.encode(known), lasting=False)
    elif _remembered(_by_digest(known.digest)) is None:
        write_atomically(_by_digest(known.digest), msgspec.json.encode(known), lasting=False)
    return known.digest


def located(digest: str) -> Path:
    """The file of that digest: the store's, one that was kept, or one that was read. Raises `UserError` when it is gone, or holds something else now."""
    blobs = BlobStore()
    if digest in blobs:
        return blobs.path(digest)
    seen = _remembered(_by_digest(digest))
    if (kept := KeptBlobs()).used(digest):
        return kept.path(digest)
    if seen is None:
        raise UserError(f"no file is known with the content {digest[:12]}…; serve the model from its path again")
    if not seen.unchanged and digest_of(Path(seen.path)) != digest:
        raise UserError(f"{seen.path} has changed since it was served; put it back, or serve it again")
    return Path(seen.path)


def gathered(files: Sequence[tuple[str, str]]) -> Path:
    """A folder in which files, each known by its digest, have these names: the one that they lie in, else one of links to them.

    Raises `UserError` for files that are gone or changed.
    """
    found = {name: located(digest) for name, digest in files}
    name, place = next(iter(found.items()))
    home = place.parents[len(Path(name).parts) - 1]
    if all(home / each == where for each, where in found.items()):
        return home
    folder = paths.cache() / "folders" / hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:32]
    with explained(folder, "write"):
        for each, where in found.items():
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / each).is_symlink() or (folder / each).readlink() != where:
                (folder / each).unlink(missing_ok=True)
                (folder / each).symlink_to(where)
    return folder


def _read(path: Path) -> _Seen:
    with explained(path, "read"), path.open("rb") as file:
        found = path.stat()
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _Seen(str(path), digest, found.st_size, found.st_mtime_ns, found.st_ino)


def _by_path(path: Path) -> Path:
    return _folder() / f"path-{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"


def _by_digest(digest: str) -> Path:
    return _folder() / f"{digest}.json"


def _folder() -> Path:
    return paths.cache() / "weights"


def _remembered(note: Path) -> _Seen | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=_Seen)
    except (OSError, msgspec.DecodeError):
        return None
