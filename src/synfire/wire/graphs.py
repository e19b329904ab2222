"""A graph as bytes beside a `Host` message: the bundle's manifest with its tensors, or with the folder of a store that has them.

    length of the manifest, manifest, tensors        whole, for whoever shares no disk with the sender
    0, length of the path, path, manifest            the tensors are blobs in the store at that path, to be mapped
    0, 0, length of the manifest, manifest           the tensors are blobs that the receiver has kept from before
    0, 0, length of the manifest, manifest, tensors  whole, and the tensors are to be kept

What a receiver keeps lies under SYNFIRE_CACHE, by digest, and is safe to delete. Large parameters come before the graph, blob by blob and
piece by piece (`synfire.wire.messages.Keep`): then it is enough to name them.

Lengths are 8 bytes, the most significant first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import safetensors
import safetensors.numpy

from synfire.base.errors import PermanentError, UserError
from synfire.formats import manifest
from synfire.formats.bundle import graph_from, put_tensors, tensor_bytes
from synfire.formats.weights import located
from synfire.graph import Graph
from synfire.ops import Array
from synfire.store import BlobStore, MirroredStore
from synfire.store.kept import KeptBlobs
from synfire.wire.stream import Buffer

_LENGTH = struct.Struct(">Q")
_KEPT = bytes(2 * _LENGTH.size)
_WHERE = "the graph in a host message"


def pack_graph(graph: Graph) -> bytes:
    """The graph, whole: structure, parameters, metadata."""
    record, tensors = manifest.manifest_of(graph, safetensors.numpy.save)
    text = manifest.encode(record)
    return b"".join((_LENGTH.pack(len(text)), text, tensors))


def refer_graph(graph: Graph, blobs: BlobStore) -> bytes:
    """The graph without its parameters, which are put into `blobs`, where they are not there already."""
    path = os.fsencode(blobs.root)
    put_tensors(graph, blobs)
    text = manifest.encode(manifest.manifest_of(graph, lambda tensors: b"")[0])
    return b"".join((_LENGTH.pack(0), _LENGTH.pack(len(path)), path, text))


def name_graph(graph: Graph) -> bytes:
    """The graph without its parameters, for whoever has kept them from before."""
    text = manifest.encode(manifest.manifest_of(graph, lambda tensors: b"")[0])
    return b"".join((_KEPT, _LENGTH.pack(len(text)), text))


def keep_graph(graph: Graph) -> bytes:
    """The graph, whole, for whoever is to keep its parameters."""
    return _KEPT + pack_graph(graph)


def blobs_of(graph: Graph) -> Iterator[tuple[str, bytes]]:
    """What the graph's parameters are as blobs, each with its digest."""
    for content in tensor_bytes(graph):
        yield hashlib.sha256(content).hexdigest(), content


def files_of(graph: Graph) -> dict[str, Path]:
    """The files that whoever runs the graph has to have, by their digests, as far as they are found here."""
    found = {}
    for digest in {digest for name in graph for digest in graph.operator(name).file_digests}:
        with contextlib.suppress(UserError):  # gone, or changed: who has it still does not need it
            found[digest] = located(digest)
    return found


def unpack_graph(data: Buffer) -> Graph:
    """The inverse of all of these.

    Raises `UserError` for bytes that are no graph, `UnknownName` for parameters that were not kept, and as `MirroredStore.get` does for
    those that a store should have.
    """
    view = memoryview(data)
    if view[: len(_KEPT)] == _KEPT:
        return _kept(view[len(_KEPT) :])
    if len(view) >= 2 * _LENGTH.size and not _LENGTH.unpack_from(view)[0]:
        return _referred(view[_LENGTH.size :])
    text, tensors = _parted(view)
    return manifest.graph_of(manifest.decode(text, _WHERE), _loaded(tensors), _WHERE)


def _kept(view: memoryview) -> Graph:
    text, tensors = _parted(view)
    blobs = KeptBlobs()
    for each in _loaded(tensors).values() if tensors else ():
        _keep(manifest.as_stored(each).tobytes(), blobs)
    return graph_from(text, blobs, _WHERE)


def _keep(content: bytes, blobs: BlobStore) -> None:
    """Store it, in place of a copy that has decayed."""
    digest = blobs.put(content)
    try:
        blobs.map(digest)
    except PermanentError:
        blobs.delete(digest)
        blobs.put(content)


def _parted(view: memoryview) -> tuple[bytes, memoryview]:
    """The manifest, and what follows it."""
    if len(view) < _LENGTH.size or _LENGTH.unpack_from(view)[0] > len(view) - _LENGTH.size:
        raise UserError(f"{len(view)} bytes hold no graph; the host message is damaged")
    split = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    return bytes(view[_LENGTH.size : split]), view[split:]


def _loaded(tensors: memoryview) -> dict[str, Array]:
    try:
        return safetensors.numpy.load(bytes(tensors))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tensors in a host message cannot be read: {error}; the message is damaged") from error


def _referred(view: memoryview) -> Graph:
    length = _LENGTH.unpack_from(view)[0]
    path, text = bytes(view[_LENGTH.size :][:length]), bytes(view[_LENGTH.size :][length:])
    return graph_from(text, MirroredStore(Path(os.fsdecode(path)), lasting=False), _WHERE)
