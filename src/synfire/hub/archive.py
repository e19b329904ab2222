"""Bundles for machines without network: models, all their blobs, checksums and a signature in one `.tar.zst` file.

    synfire-bundle.json      first: what is in it, each blob with its SHA-256 and bytes
    synfire-bundle.sig       second, where it is signed: an Ed25519 signature of those bytes, and the public key
    blobs/<sha256>           one file for each blob, in the order of the first

The file is read once, from front to back. No name in it becomes a path: a blob goes where its digest says, and only what the first file
lists is taken.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from synfire.base.errors import UserError
from synfire.store.files import explained

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMAT, VERSION = "synfire-models", 1
CONTENTS, SIGNATURE, BLOBS = "synfire-bundle.json", "synfire-bundle.sig", "blobs/"
LARGEST_CONTENTS = 64 * 2**20
PIECE = 1 << 20
LEVEL = 3
"""Weights hardly get smaller: more effort than zstd's usual wins nothing on them."""


class BundledModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model: `kind` is `weights` or `graph`, `manifest` its manifest's digest."""

    name: str
    kind: str
    manifest: str
    source: str = ""


class BundledBlob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A blob; `part_of` names what it is for people: `shake:latest config.json`."""

    sha256: str
    size: int
    part_of: str = ""


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle holds."""

    format: str
    version: int
    models: tuple[BundledModel, ...]
    blobs: tuple[BundledBlob, ...]


class Member:
    """A file in a bundle, being read: its name, and how many bytes it has."""

    def __init__(self, name: str, size: int, packed: zstd.ZstdFile, where: Path) -> None:
        self.name, self.size, self.where = name, size, where
        self._left, self._packed = size, packed

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, bit by bit. Raises `UserError` where the bundle is cut off or damaged."""
        while self._left:
            piece = _read(self._packed, min(PIECE, self._left), self.where, self.name)
            self._left -= len(piece)
            yield piece

    def small(self) -> bytes:
        """Its bytes. Raises `UserError` where they are more than such a file has."""
        if self.size > LARGEST_CONTENTS:
            raise damaged(
                self.where, self.name, f"it has {self.size} bytes, and {LARGEST_CONTENTS} is the most that is read"
            )
        return b"".join(self.pieces())


def encode_contents(contents: Contents) -> bytes:
    """The contents as JSON: the bytes that are signed."""
    return msgspec.json.format(msgspec.json.encode(contents), indent=1) + b"\n"


def decode_contents(content: bytes, where: Path) -> Contents:
    """Read and check them. Raises `UserError`."""
    try:
        found = msgspec.json.decode(content, type=Contents)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(where, CONTENTS, str(error)) from error
    if (found.format, found.version) != (FORMAT, VERSION):
        raise UserError(
            f"{where} is a bundle of the format {found.format!r}, version {found.version}, and {FORMAT} {VERSION} is read; "
            "install the synfire that wrote it, or have it written anew"
        )
    if len({blob.sha256 for blob in found.blobs}) < len(found.blobs):
        raise damaged(where, CONTENTS, "it lists a blob twice")
    return found


def damaged(where: Path, name: str, why: str) -> UserError:
    """The error for a bundle of which the file `name` is not what was written."""
    return UserError(f"{where} is damaged: {name}: {why}; nothing of it is taken: copy the bundle again")


class Writer:
    """A bundle being written, file by file. Files have no time and no owner: equal models give equal bundles."""

    def __init__(self, file: BinaryIO) -> None:
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self._packed = zstd.ZstdFile(file, "w", options=options)

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """Add a file of so many bytes."""
        member = tarfile.TarInfo(name)
        member.size = size
        self._packed.write(member.tobuf(tarfile.GNU_FORMAT))
        for piece in pieces:
            self._packed.write(piece)
        self._packed.write(bytes(-size % tarfile.BLOCKSIZE))

    def close(self) -> None:
        """Write the end."""
        self._packed.write(bytes(2 * tarfile.BLOCKSIZE))
        self._packed.close()


@contextmanager
def members(path: Path) -> Iterator[Iterator[Member]]:
    """The files of a bundle, in order; what is left of one when the next is asked for is skipped.

    Raises `UserError` for what is no bundle, is cut off, or damaged. Only plain headers of 512 bytes are read: a bundle has no others, and
    others may say that they are of any length.
    """
    with explained(path, "read"), path.open("rb") as file, zstd.ZstdFile(file, "r") as packed:
        yield _members(packed, path)


def _members(packed: zstd.ZstdFile, path: Path) -> Iterator[Member]:
    before = CONTENTS
    while True:
        header = _read(packed, tarfile.BLOCKSIZE, path, f"what comes after {before}")
        if header == bytes(tarfile.BLOCKSIZE):
            _check_end(packed, path)
            return
        member = _member(header, packed, path, before)
        yield member
        for _ in member.pieces():
            pass
        padding = -member.size % tarfile.BLOCKSIZE
        if padding:
            _read(packed, padding, path, member.name)
        before = member.name


def _check_end(packed: zstd.ZstdFile, path: Path) -> None:
    """That nothing comes any more. Reading the end has zstd compare its checksum of all that came."""
    if _read(packed, tarfile.BLOCKSIZE, path, "its end") != bytes(tarfile.BLOCKSIZE) or _some(
        packed, 1, path, "its end"
    ):
        raise damaged(path, "its end", "more comes after it")


def _member(header: bytes, packed: zstd.ZstdFile, path: Path, before: str) -> Member:
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise damaged(path, f"what comes after {before}", f"{error}") from error
    if found.type != tarfile.REGTYPE or found.size < 0:
        raise damaged(path, repr(found.name), "it is no plain file")
    return Member(found.name, found.size, packed, path)


def _read(packed: zstd.ZstdFile, count: int, path: Path, name: str) -> bytes:
    """So many bytes, all of them."""
    pieces, left = [], count
    while left:
        piece = _some(packed, left, path, name)
        if not piece:
            raise damaged(path, name, "the bundle ends here")
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _some(packed: zstd.ZstdFile, most: int, path: Path, name: str) -> bytes:
    try:
        return packed.read(most)
    except (zstd.ZstdError, EOFError) as error:
        raise damaged(path, name, str(error)) from error


def listed(blobs: Sequence[BundledBlob]) -> dict[str, BundledBlob]:
    """The blobs by their names in the bundle."""
    return {f"{BLOBS}{blob.sha256}": blob for blob in blobs}
