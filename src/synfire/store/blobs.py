"""Content-addressed blobs: bytes under the SHA-256 of what they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import PermanentError, SynfireError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.store.files import explained, write_atomically

_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """A folder of blobs, each in `xx/yyyy…` by its digest. Safe for several processes: a blob never changes.

    `root` defaults to `SYNFIRE_HOME/blobs`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or paths.home() / "blobs"

    def put(self, content: bytes) -> str:
        """Store `content` and return its digest; what is there already is not written again.

        Raises `UserError` when the folder cannot be written, `TemporaryError` when the disk is full.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.path(digest)
        if not path.exists():
            write_atomically(path, content)
        return digest

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest.

        Raises `UnknownName` when it is absent, `PermanentError` when the file no longer holds what was stored.
        """
        path = self.path(digest)
        with explained(path, "read"):
            try:
                content = path.read_bytes()
            except FileNotFoundError as error:
                raise UnknownName(f"there is no blob {digest} in {self.root}; import its model again") from error
        if hashlib.sha256(content).hexdigest() != digest:
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


class MirroredStore(BlobStore):
    """Blobs in two copies, the other one under `root/mirror`: what decays in one is read from the other, and written again."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.mirror = BlobStore(root / "mirror")

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
            LOGGER.warning(
                "blob %s is damaged or gone; its other copy is whole, and takes its place", self.path(digest)
            )
        try:
            write_atomically(self.path(digest), content)
        except SynfireError as error:  # a full disk, say: the content is here all the same
            LOGGER.warning("blob %s is not mended: %s", digest, error)
        return content

    def delete(self, digest: str) -> None:
        """Remove both copies."""
        super().delete(digest)
        self.mirror.delete(digest)
