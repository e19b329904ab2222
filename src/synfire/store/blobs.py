"""Content-addressed blobs: bytes under the SHA-256 of what they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synfire.base import paths
from synfire.base.errors import PermanentError, SynfireError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.store.files import explained, write_atomically
from synfire.store.mapping import mapped

Content = TypeVar("Content", bytes, NDArray[np.uint8])
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """A folder of blobs, each in `xx/yyyy…` by its digest. Safe for several processes: a blob never changes.

    `root` defaults to `SYNFIRE_HOME/blobs`. What is not `lasting` need not outlive the machine's next failure, and is written
    without waiting for the disk.
    """

    def __init__(self, root: Path | None = None, lasting: bool = True) -> None:
        self.root = root or paths.home() / "blobs"
        self._lasting = lasting

    def put(self, content: bytes) -> str:
        """Store `content` and return its digest; what is there already is not written again.

        Raises `UserError` when the folder cannot be written, `TemporaryError` when the disk is full.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.path(digest)
        if not path.exists():
            write_atomically(path, content, self._lasting)
        return digest

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest.

        Raises `UnknownName` when it is absent, `PermanentError` when the file no longer holds what was stored.
        """
        return self._checked(digest, Path.read_bytes)

    def map(self, digest: str) -> NDArray[np.uint8]:
        """The content as read-only memory that all who map it share, also after it is deleted; checked. Raises as `get` does."""
        return self._checked(digest, mapped)

    def _checked(self, digest: str, read: Callable[[Path], Content]) -> Content:
        path = self.path(digest)
        with explained(path, "read"):
            try:
                content = read(path)
            except FileNotFoundError as error:
                raise UnknownName(f"there is no blob {digest} in {self.root}; import its model again") from error
        if hashlib.sha256(content if isinstance(content, bytes) else content.data).hexdigest() != digest:
            raise PermanentError(
                f"blob {digest} is corrupted: {path} holds other bytes than were stored; delete the file and import its model again"
            )
        return content

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None and self.path(digest).exists()

    def __iter__(self) -> Iterator[str]:
        return (found.parent.name + found.name for found in sorted(self.root.glob("??/" + "?" * 62)))

    def delete(self, digest: str) -> None:
        """Remove a blob that no model needs any more; one that is absent is no error."""
        path = self.path(digest)
        with explained(path, "delete"):
            path.unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob of that digest is, or would be."""
        if not _DIGEST.fullmatch(digest):
            raise UserError(f"{digest!r} is no digest; a digest is 64 hexadecimal digits in lower case")
        return self.root / digest[:2] / digest[2:]

    def digest(self, path: Path) -> str:
        """The digest of the blob that lies at an absolute path; empty for a file that is none."""
        name = path.parent.name + path.name
        return name if _DIGEST.fullmatch(name) and path == self.path(name).absolute() else ""


class MirroredStore(BlobStore):
    """Blobs in two copies, the other one under `root/mirror`: what decays in one is read from the other, and written again."""

    def __init__(self, root: Path, lasting: bool = True) -> None:
        super().__init__(root, lasting)
        self.mirror = BlobStore(root / "mirror", lasting)

    def put(self, content: bytes) -> str:
        """Store `content` twice and return its digest. Raises as `BlobStore.put` does."""
        self.mirror.put(content)
        return super().put(content)

    def get(self, digest: str) -> bytes:
        """The content, as long as one copy is whole. Raises as `BlobStore.get` does."""
        try:
            return super().get(digest)
        except (PermanentError, UnknownName):
            content = self.mirror.get(digest)
            self._mend(digest, content)
            return content

    def map(self, digest: str) -> NDArray[np.uint8]:
        """The content as shared memory, as long as one copy is whole. Raises as `BlobStore.get` does."""
        try:
            return super().map(digest)
        except (PermanentError, UnknownName):
            content = self.mirror.map(digest)
            self._mend(digest, content.tobytes())
            return content

    def _mend(self, digest: str, content: bytes) -> None:
        """Write a copy anew. Whoever has mapped the old one keeps it."""
        LOGGER.warning("blob %s is damaged or gone; its other copy is whole, and takes its place", self.path(digest))
        try:
            write_atomically(self.path(digest), content, self._lasting)
        except SynfireError as error:  # a full disk, say: the content is here all the same
            LOGGER.warning("blob %s is not mended: %s", digest, error)

    def delete(self, digest: str) -> None:
        """Remove both copies."""
        super().delete(digest)
        self.mirror.delete(digest)
