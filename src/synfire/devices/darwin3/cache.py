"""Operator images kept by what they were made from."""

from __future__ import annotations

import re
from pathlib import Path

from synfire.base.errors import PermanentError, TemporaryError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.devices.darwin3.image import OperatorImage, Source, decode, make_image
from synfire.devices.darwin3.known import proven
from synfire.store import BlobStore, write_atomically

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ImageCache:
    """Images in a blob store, under their own digest; a line for each source, by its digest, says which.

    A source's digest covers the operator, its parameters, how it is cut, and the kind of chip. Images carry known answers.
    Without a store, they are kept for the life of this object.
    """

    def __init__(self, store: BlobStore | None = None) -> None:
        self.store = store
        self._kept: dict[str, OperatorImage] = {}

    def image(self, source: Source) -> OperatorImage:
        """The image of `source`: kept, stored, or made now. What is damaged in the store is made again."""
        key = source.digest()
        if key not in self._kept:
            self._kept[key] = self._stored(key, source) or self._made(key, source)
        return self._kept[key]

    def _made(self, key: str, source: Source) -> OperatorImage:
        image = proven(make_image(source), source.limits)
        try:
            if self.store is not None:
                write_atomically(self._line(self.store, key), self.store.put(image.encode()).encode())
        except (UserError, TemporaryError) as error:  # a full disk costs the next one time, and nobody an answer
            LOGGER.warning("an operator image cannot be kept: %s", error)
        return image

    def _stored(self, key: str, source: Source) -> OperatorImage | None:
        if self.store is None or not (line := self._line(self.store, key)).is_file():
            return None
        digest = line.read_bytes().decode(errors="replace")
        if not _DIGEST.fullmatch(digest):
            return None
        try:
            return decode(self.store.get(digest), source.limits)
        except UnknownName:
            return None
        except PermanentError:  # damaged, or of another format: make room for a good one
            self.store.delete(digest)
            return None

    def _line(self, store: BlobStore, key: str) -> Path:
        return store.root.parent / "darwin3-images" / key
