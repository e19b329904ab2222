"""synfire's own format: a folder with `graph.json` (readable) and `tensors.safetensors` (each tensor once).

    NAME/graph.json            operators, synapses, inputs, outputs, metadata, and a SHA-256 of every part
    NAME/tensors.safetensors   the parameters
    NAME/card.md, card.json    for people, optional and not read

Every byte of the first two is verified when a bundle is read.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from synfire.base.errors import PermanentError, UserError
from synfire.formats.format import FORMATS, Format
from synfire.formats.huggingface import is_folder
from synfire.formats.manifest import (
    Manifest,
    TensorRecord,
    as_stored,
    decode,
    encode,
    graph_of,
    is_scalar,
    manifest_of,
    tensor_digest,
)
from synfire.formats.python_function import check_no_code
from synfire.formats.triton.layout import is_triton
from synfire.graph import Graph
from synfire.ops import Array
from synfire.store import BlobStore, write_atomically
from synfire.store.files import explained

MANIFEST, TENSORS = "graph.json", "tensors.safetensors"
CARDS = ("card.md", "card.json")


def write_bundle(graph: Graph, path: str | Path, overwrite: bool = False) -> str:
    """Write `graph` to the folder `path` and return the digest of its manifest.

    The folder appears whole or not at all. Raises `UserError` when it exists and `overwrite` is not set, when it holds
    something else than a bundle, or when it cannot be written; `TemporaryError` when the disk is full.
    """
    folder = Path(path)
    manifest, tensors = manifest_of(graph, _tensor_file)
    content = encode(manifest)
    _check_target(folder, overwrite)
    with explained(folder, "write"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        write_atomically(fresh / MANIFEST, content)
        write_atomically(fresh / TENSORS, tensors)
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return hashlib.sha256(content).hexdigest()


def read_bundle(path: str | Path) -> Graph:
    """The graph in the bundle folder `path`.

    Raises `UserError` for a folder that is no bundle, a file that should not be there, an unknown schema version,
    operator or field, and for a damaged `graph.json`; `PermanentError` for damaged tensors, naming the tensor.
    """
    folder = Path(path)
    _check_folder(folder)
    manifest = decode(_read(folder / MANIFEST), str(folder / MANIFEST))
    tensors = _tensors(folder / TENSORS, manifest)
    return graph_of(manifest, tensors, str(folder / MANIFEST))


def store_graph(graph: Graph, blobs: BlobStore) -> str:
    """Put the manifest and each tensor into `blobs`, where models share equal tensors; return the manifest's digest."""
    put_tensors(graph, blobs)
    return blobs.put(encode(manifest_of(graph, _tensor_file)[0]))


def manifest_digest(graph: Graph) -> str:
    """The digest that `store_graph` returns."""
    return hashlib.sha256(encode(manifest_of(graph, _tensor_file)[0])).hexdigest()


def put_tensors(graph: Graph, blobs: BlobStore) -> None:
    """Put each tensor into `blobs`."""
    for content in tensor_bytes(graph):
        blobs.put(content)


def tensor_bytes(graph: Graph) -> Iterator[bytes]:
    """Each tensor as a blob has it, one after the other."""
    for array in _arrays(graph):
        yield as_stored(array).tobytes()


def stored_graph(digest: str, blobs: BlobStore) -> Graph:
    """The graph whose manifest is the blob `digest`; its parameters are mapped. Raises as `BlobStore.get` does."""
    return graph_from(blobs.get(digest), blobs, f"manifest {digest}")


def graph_from(content: bytes, blobs: BlobStore, where: str) -> Graph:
    """The graph of an encoded manifest whose tensors are in `blobs`, from which they are mapped."""
    manifest = decode(content, where)
    return graph_of(manifest, {name: _from_blob(each, blobs) for name, each in manifest.tensors.items()}, where)


class Bundle(Format):
    """A bundle folder; see this module."""

    name = "bundle"
    looks_like = f"a folder with {MANIFEST}"

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and ((path / MANIFEST).exists() or not (is_folder(path) or is_triton(path)))

    def read(self, path: Path) -> Graph:
        graph = read_bundle(path)
        check_no_code(graph, str(path))
        return graph


FORMATS.add(Bundle.name, Bundle())


def _tensor_file(tensors: dict[str, Array]) -> bytes:
    return safetensors.numpy.save(tensors)


def _arrays(graph: Graph) -> list[Array]:
    found: list[Array] = []
    for each in graph.operators.values():
        found += (
            _arrays(each) if isinstance(each, Graph) else [a for a in each.parameters().values() if not is_scalar(a)]
        )
    return found


def _from_blob(record: TensorRecord, blobs: BlobStore) -> Array:
    return blobs.map(record.sha256).view(np.dtype(record.dtype)).reshape(record.shape)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder, so it is no bundle; name the folder that holds {MANIFEST}")
    with explained(folder, "read"):
        found = sorted(folder.iterdir())
    names = {file.name for file in found}
    for name in (MANIFEST, TENSORS):
        if name not in names:
            raise UserError(f"{folder} holds no {name}, so it is no complete bundle; copy the whole folder again")
    for file in found:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise UserError(f"{file} is a link or a folder; a bundle holds plain files only: replace it by its content")
    extra = sorted(names - {MANIFEST, TENSORS, *CARDS})
    if extra:
        raise UserError(f"{folder} holds {', '.join(extra)}, which is no part of a bundle; move it elsewhere")


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise UserError(f"{folder} exists; choose another path, or remove it")
    if folder.is_symlink() or not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).exists()):
        raise UserError(f"{folder} exists and is no bundle; choose another path")


def _swap(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`, keeping the cards that lie there."""
    with explained(folder, "write"):
        fresh.chmod(0o755)
        if not folder.exists():
            fresh.rename(folder)
            return
        for card in CARDS:
            if (folder / card).exists():
                shutil.copy2(folder / card, fresh / card)
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-")) / "old"
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old.parent)


def _read(file: Path) -> bytes:
    with explained(file, "read"):
        return file.read_bytes()


def _tensors(file: Path, manifest: Manifest) -> Mapping[str, Array]:
    content = _read(file)
    intact = hashlib.sha256(content).hexdigest() == manifest.tensor_file.sha256
    try:
        tensors = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"{file} is damaged: its header cannot be read ({error}); {_COPY}") from error
    for name, record in manifest.tensors.items():
        if name not in tensors:
            raise PermanentError(f"{file} is damaged: the tensor {name!r} is missing; {_COPY}")
        found = tensors[name]
        if (found.dtype.name, found.shape, tensor_digest(found)) != (record.dtype, record.shape, record.sha256):
            raise PermanentError(f"{file} is damaged: the tensor {name!r} does not match its digest; {_COPY}")
    extra = sorted(set(tensors) - set(manifest.tensors))
    if extra:
        raise PermanentError(f"{file} is damaged: it holds the tensor {extra[0]!r}, which {MANIFEST} lacks; {_COPY}")
    if not intact:
        raise PermanentError(f"{file} is damaged: its header is not what was written; {_COPY}")
    return tensors


_COPY = "copy the bundle again, or import the model again"
