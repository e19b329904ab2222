"""Where models are kept: content-addressed blobs, a catalog of names, and models of many blobs under one name."""

from synfire.store.blobs import BlobStore, MirroredStore
from synfire.store.catalog import Catalog, Entry, Tagged
from synfire.store.files import write_atomically
from synfire.store.layers import Layer, ModelManifest
from synfire.store.models import ModelStore
from synfire.store.names import ModelName

__all__ = [
    "BlobStore",
    "Catalog",
    "Entry",
    "Layer",
    "MirroredStore",
    "ModelManifest",
    "ModelName",
    "ModelStore",
    "Tagged",
    "write_atomically",
]
