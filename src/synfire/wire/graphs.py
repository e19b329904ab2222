"""A graph as bytes beside a `Host` message: the bundle's manifest and its tensors, one after the other."""

from __future__ import annotations

import struct

import safetensors
import safetensors.numpy

from synfire.base.errors import UserError
from synfire.formats import manifest
from synfire.graph import Graph
from synfire.wire.stream import Buffer

_LENGTH = struct.Struct(">Q")


def pack_graph(graph: Graph) -> bytes:
    """The graph, whole: structure, parameters, metadata."""
    record, tensors = manifest.manifest_of(graph, safetensors.numpy.save)
    text = manifest.encode(record)
    return b"".join((_LENGTH.pack(len(text)), text, tensors))


def unpack_graph(data: Buffer) -> Graph:
    """The inverse of `pack_graph`. Raises `UserError` for bytes that are no graph."""
    view = memoryview(data)
    if len(view) < _LENGTH.size or _LENGTH.unpack_from(view)[0] > len(view) - _LENGTH.size:
        raise UserError(f"{len(view)} bytes hold no graph; the host message is damaged")
    split = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    record = manifest.decode(bytes(view[_LENGTH.size : split]), "the graph in a host message")
    try:
        tensors = safetensors.numpy.load(bytes(view[split:]))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tensors in a host message cannot be read: {error}; the message is damaged") from error
    return manifest.graph_of(record, tensors, "the graph in a host message")
