"""Files of a model, in the store or on disk, into its layers and manifest."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from synfire.base.errors import UserError
from synfire.formats.gguf_parts import join, part_names, whole_name
from synfire.hub.pieces import Described, Piece, pieces
from synfire.hub.source import Into
from synfire.store import BlobStore, Layer, ModelStore
from synfire.store.incoming import Incoming, put_file
from synfire.store.layers import CONFIG, encode_manifest, layer_of, manifest_of


def manifest_of_path(path: Path, into: Into) -> bytes:
    """Copy a GGUF file, all its parts, or a Hugging Face directory into the store, and return the manifest.

    Raises `UserError` for what is damaged, before anything is copied; `TemporaryError` for a full disk.
    """
    parts = [path.with_name(name) for name in part_names(path.name)]
    if len(parts) > 1 and path.is_file():
        _check_all_there(parts)
        return _manifest_of_blob(_joined(parts, into), whole_name(path.name), into)
    found, described = pieces(path)
    return write_manifest(into.store.blobs, described, [_copied(piece, into) for piece in found])


def manifest_of_files(files: Mapping[str, str], into: Into) -> bytes:
    """The manifest of the files, by name, that were fetched as these blobs: one GGUF file, its parts, or a directory's.

    Raises `UserError` for what is damaged.
    """
    if all(name.endswith(".gguf") for name in files):
        first = next(iter(files))
        if len(files) == 1:
            return _manifest_of_blob(files[first], first, into)
        with _linked(files, into.store) as folder:
            joined = _joined([Path(folder) / name for name in files], into)
        for digest in files.values():  # parts are of no use to anybody else
            into.store.blobs.delete(digest)
        return _manifest_of_blob(joined, whole_name(first), into)
    with _linked(files, into.store) as folder:
        found, described = pieces(Path(folder))
        layers = [_layer(piece, files[piece.name], into.store) for piece in found]
        return write_manifest(into.store.blobs, described, layers)


def write_manifest(blobs: BlobStore, described: Described, layers: Iterable[Layer]) -> bytes:
    """Put the config that `described` is into `blobs`; the manifest of it and the layers."""
    config = put_layer(blobs, CONFIG, msgspec.json.encode(described))
    return encode_manifest(manifest_of(config, layers))


def put_layer(blobs: BlobStore, media_type: str, content: bytes) -> Layer:
    """Put a small layer into `blobs`."""
    blobs.put(content)
    return layer_of(media_type, content)


def _manifest_of_blob(digest: str, name: str, into: Into) -> bytes:
    with _linked({Path(name).name: digest}, into.store) as folder:
        (piece,), described = pieces(Path(folder) / Path(name).name)
        return write_manifest(into.store.blobs, described, [_layer(piece, digest, into.store)])


def _layer(piece: Piece, digest: str, store: ModelStore) -> Layer:
    return Layer(piece.media_type, f"sha256:{digest}", store.blobs.path(digest).stat().st_size, piece.name)


def _copied(piece: Piece, into: Into) -> Layer:
    into.watcher.begin(piece.name or piece.path.name, piece.path.stat().st_size)
    try:
        digest = put_file(into.store.blobs, piece.path, into.watcher.advance)
    finally:
        into.watcher.end()
    return _layer(piece, digest, into.store)


def _check_all_there(parts: Sequence[Path]) -> None:
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise UserError(f"{parts[0].parent} lacks {', '.join(missing)} of {len(parts)} parts; copy them there, too")


def _joined(parts: Sequence[Path], into: Into) -> str:
    """The blob that the parts make."""
    total = sum(part.stat().st_size for part in parts)
    of = "\n".join(str(part.resolve()) for part in parts)
    return written(of, f"joining {len(parts)} parts", total, lambda write: join(parts, write), into)


def written(
    of: str, what: str, total: int | None, make: Callable[[Callable[[bytes], None]], object], into: Into
) -> str:
    """The digest of the blob that `make` writes, piece by piece: `total` bytes, where that is known; the watcher is told `what` it is.

    Of processes that make it `of` the same, one does at a time. What `make` raises leaves nothing behind.
    """
    key = hashlib.sha256(of.encode(errors="surrogateescape")).hexdigest()
    with Incoming(into.store.blobs, key) as incoming:
        incoming.restart()
        into.watcher.begin(what, total)

        def write(piece: bytes) -> None:
            incoming.write(piece)
            into.watcher.advance(len(piece))

        try:
            make(write)
            return incoming.finish()
        except BaseException:
            incoming.restart()
            raise
        finally:
            into.watcher.end()


def _linked(files: Mapping[str, str], store: ModelStore) -> tempfile.TemporaryDirectory[str]:
    """A folder in which the blobs have the names of the files."""
    folder = tempfile.TemporaryDirectory(prefix="synfire-")
    for name, digest in files.items():
        link = Path(folder.name) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(store.blobs.path(digest).absolute())
    return folder
