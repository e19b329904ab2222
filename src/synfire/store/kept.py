"""Blobs that a machine keeps of others, so that nobody has to send them twice: in a cache, of a bounded size."""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

from synfire.base import paths
from synfire.base.errors import PermanentError, UnknownName
from synfire.base.log import LOGGER
from synfire.store.blobs import BlobStore
from synfire.store.incoming import Incoming

LATE_S = 600.0
"""What was used within so many seconds stays: it may belong to a stage whose other blobs are still on their way."""


class KeptBlobs(BlobStore):
    """Under `SYNFIRE_CACHE/blobs`, safe to delete. What was used the longest ago makes room."""

    def __init__(self) -> None:
        super().__init__(paths.cache() / "blobs", lasting=False)

    def map(self, digest: str) -> NDArray[np.uint8]:
        """As `BlobStore.map`; it counts as used from now on."""
        found = super().map(digest)
        self.used(digest)
        return found

    def used(self, digest: str) -> bool:
        """Whether it is here; then it counts as used from now on."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        except OSError as error:  # on a disk that cannot be written to: it is here all the same
            LOGGER.info("blob %s is used, and that cannot be noted: %s", digest, error)
        return True

    def take(self, digest: str, size: int, offset: int, piece: bytes | memoryview) -> int:
        """Add the bytes from `offset` on, where these follow what is here, and say how many of `size` there are then.

        What was begun before is gone on with. Raises `UserError` where the bytes are others than the digest says, `TemporaryError` where the
        disk is full.
        """
        if digest in self:
            try:
                self.map(digest)
                return size
            except (PermanentError, UnknownName):
                self.delete(digest)
        with Incoming(self, digest) as incoming:
            if incoming.size > size:
                incoming.restart()
            if piece and incoming.size == offset:
                incoming.write(piece)
            if incoming.size == size:
                incoming.finish(digest)
            return incoming.size

    def prune(self, most_bytes: float, now_s: float | None = None) -> int:
        """Remove what was used the longest ago until no more than `most_bytes` are kept, but nothing that was used of late; the bytes that
        are. Who has mapped a blob keeps it."""
        late_ns = int(((time.time() if now_s is None else now_s) - LATE_S) * 1e9)
        found = []
        for digest in self:
            try:
                status = self.path(digest).stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, digest))
        kept_bytes = sum(size for _, size, _ in found)
        for used_ns, size, digest in sorted(found):
            if kept_bytes <= most_bytes or used_ns > late_ns:
                break
            self.delete(digest)
            kept_bytes -= size
        return kept_bytes
