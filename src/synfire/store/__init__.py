"""Where models are kept: content-addressed blobs and a catalog of names."""

from synfire.store.blobs import BlobStore, MirroredStore
from synfire.store.catalog import Catalog, Entry
from synfire.store.files import write_atomically

__all__ = ["BlobStore", "Catalog", "Entry", "MirroredStore", "write_atomically"]
