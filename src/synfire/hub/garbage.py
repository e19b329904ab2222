"""What blobs a manifest of any kind needs, so that a removal takes only what nothing else needs."""

from __future__ import annotations

from collections.abc import Iterable

from synfire.formats.manifest import FORMAT, decode
from synfire.store import BlobStore
from synfire.store.layers import decode_manifest


def references(digest: str, blobs: BlobStore) -> Iterable[str]:
    """The blobs that the manifest needs: a model's layers, or a graph's tensors. Raises as `BlobStore.get` does, and `UserError`."""
    content, where = blobs.get(digest), f"the manifest {digest[:12]}…"
    if is_graph(content):
        return [tensor.sha256 for tensor in decode(content, where).tensors.values()]
    return [layer.sha256 for layer in decode_manifest(content, where).blobs]


def is_graph(manifest: bytes) -> bool:
    """Whether it is a graph's manifest, and none of a model of weights."""
    return f'"format": "{FORMAT}"'.encode() in manifest[:200]
