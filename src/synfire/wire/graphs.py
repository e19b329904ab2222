"""A graph as bytes beside a `Host` message: the bundle's manifest with its tensors, or with the folder of a store that has them.

    length of the manifest, manifest, tensors        whole, for whoever shares no disk with the sender
    0, length of the path, path, manifest            the tensors are blobs in the store at that path, to be mapped

Lengths are 8 bytes, the most significant first.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import safetensors
import safetensors.numpy

from synfire.base.errors import UserError
from synfire.formats import manifest
from synfire.formats.bundle import graph_from, put_tensors
from synfire.graph import Graph
from synfire.store import BlobStore, MirroredStore
from synfire.wire.stream import Buffer

_LENGTH = struct.Struct(">Q")


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


def unpack_graph(data: Buffer) -> Graph:
    """The inverse of `pack_graph` and `refer_graph`.

    Raises `UserError` for bytes that are no graph, and as `MirroredStore.get` does for parameters that a store should have.
    """
    view = memoryview(data)
    if len(view) >= 2 * _LENGTH.size and not _LENGTH.unpack_from(view)[0]:
        return _referred(view[_LENGTH.size :])
    if len(view) < _LENGTH.size or _LENGTH.unpack_from(view)[0] > len(view) - _LENGTH.size:
        raise UserError(f"{len(view)} bytes hold no graph; the host message is damaged")
    split = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    record = manifest.decode(bytes(view[_LENGTH.size : split]), "the graph in a host message")
    try:
        tensors = safetensors.numpy.load(bytes(view[split:]))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tensors in a host message cannot be read: {error}; the message is damaged") from error
    return manifest.graph_of(record, tensors, "the graph in a host message")


def _referred(view: memoryview) -> Graph:
    length = _LENGTH.unpack_from(view)[0]
    path, text = bytes(view[_LENGTH.size :][:length]), bytes(view[_LENGTH.size :][length:])
    return graph_from(text, MirroredStore(Path(os.fsdecode(path)), lasting=False), "the graph in a host message")
