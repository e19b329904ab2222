"""Named models in the store: names to manifests to blobs, whole or not at all, and what goes when a name goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import SynfireError, UnknownName
from synfire.base.log import LOGGER
from synfire.store.blobs import BlobStore
from synfire.store.catalog import Catalog, Tagged
from synfire.store.files import explained
from synfire.store.incoming import sweep
from synfire.store.layers import Layer, ModelManifest, decode_manifest
from synfire.store.locks import locked
from synfire.store.names import ModelName

References = Callable[[str, BlobStore], Iterable[str]]
"""From the digest of a manifest of some kind to the digests of the blobs that it needs."""


@dataclass(frozen=True)
class Removed:
    """What a removal freed."""

    blobs: int
    bytes: int


class ModelStore:
    """The named models under `SYNFIRE_HOME`, or under `home`.

    Safe for several processes, and for a kill at any moment: blobs come first and never change, and then one row of the catalog
    makes them a model. Removing takes the lock that adding shares, so no blob goes that a model is being made of.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or paths.home()
        self.blobs = BlobStore(self.home / "blobs")
        self.catalog = Catalog(self.home / "catalog.sqlite")

    def names(self) -> list[Tagged]:
        """All named models; looking makes no store."""
        return self.catalog.tags() if self.catalog.path.exists() else []

    def find(self, name: ModelName) -> Tagged | None:
        """What `name` stands for; None where it stands for nothing."""
        return self.catalog.tagged(name) if self.catalog.path.exists() else None

    def one(self, name: ModelName) -> Tagged:
        """What `name` stands for. Raises `UnknownName`, with the names that there are."""
        found = self.find(name)
        if found is None:
            raise UnknownName.among("stored model", str(name), [each.name for each in self.names()])
        return found

    def manifest(self, digest: str) -> ModelManifest:
        """The manifest that is the blob `digest`. Raises as `BlobStore.get` and `decode_manifest` do."""
        return decode_manifest(self.blobs.get(digest), f"the manifest {digest[:12]}… in {self.blobs.root}")

    def missing(self, manifest: ModelManifest) -> list[Layer]:
        """The layers whose blobs are not there, or not of the layer's size."""
        return [layer for layer in manifest.blobs if not self.has(layer)]

    def commit(self, name: ModelName, content: bytes, source: str) -> Tagged | None:
        """Let `name` stand for the manifest `content`; None, and nothing done, where a blob of it is missing: get it, and call
        again. Raises as `Catalog.tag` and `decode_manifest` do."""
        manifest = decode_manifest(content, f"the manifest of {name}")
        with self.adding():
            if self.missing(manifest):
                return None
            return self.catalog.tag(name, self.blobs.put(content), source)

    def adding(self) -> AbstractContextManager[None]:
        """A block in which no blob is removed: for putting blobs and the name that needs them."""
        return locked(self._lock, shared=True)

    def copy(self, name: ModelName, to: ModelName) -> Tagged:
        """Let `to` stand for what `name` stands for. Raises `UnknownName`, and as `Catalog.tag` does."""
        with self.adding():
            found = self.one(name)
            return self.catalog.tag(to, found.manifest, found.source)

    def remove(self, name: ModelName, references: References) -> Removed:
        """Forget `name`, and delete the blobs that only it needed. Raises `UnknownName`."""
        with locked(self._lock):
            found = self.one(name)
            self.catalog.keep(_GOING, found.manifest, b"")
            self.catalog.untag(name)
            return self._collect(references)

    def remove_graph(self, reference: str, references: References) -> Removed:
        """Forget one version of an imported graph, and delete the blobs that only it needed. Raises `UnknownName`."""
        with locked(self._lock):
            found = self.catalog.find(reference)
            self.catalog.keep(_GOING, found.manifest, b"")
            self.catalog.remove(str(found))
            return self._collect(references)

    def has(self, layer: Layer) -> bool:
        """Whether the layer's blob is there, in its whole length."""
        return layer.sha256 in self.blobs and self._size(layer.sha256) == layer.size

    def _collect(self, references: References) -> Removed:
        """Delete what the manifests that were removed needed, also those of a removal that was killed, and no other one needs."""
        kept = {each.manifest for each in self.catalog.tags()} | {each.manifest for each in self.catalog.entries()}
        needed = {digest for each in kept for digest in (each, *references(each, self.blobs))}
        count = size = 0
        for manifest in self.catalog.kept(_GOING):
            for digest in (*self._needs(manifest, references), manifest):  # the manifest last: it names the rest
                if digest not in needed and digest in self.blobs:
                    count, size = count + 1, size + self._size(digest)
                    self.blobs.delete(digest)
            self.catalog.drop(_GOING, manifest)
        sweep(self.blobs)
        return Removed(count, size)

    def _needs(self, manifest: str, references: References) -> tuple[str, ...]:
        """What a manifest that goes needs; nothing where it cannot be read, as when it was damaged."""
        try:
            return tuple(references(manifest, self.blobs))
        except SynfireError as error:
            LOGGER.warning("what %s needed stays in the store: %s", manifest, error)
            return ()

    def _size(self, digest: str) -> int:
        path = self.blobs.path(digest)
        with explained(path, "read"):
            return path.stat().st_size

    @property
    def _lock(self) -> Path:
        return self.home / "store.lock"


_GOING = "removed manifest"
