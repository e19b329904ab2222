"""A deployment as Kubernetes objects: pure functions from a description to documents."""

from synfire.kubernetes.manifests.description import Board, Description, Keys, Placing, Pool
from synfire.kubernetes.manifests.rendering import documents, files

__all__ = ["Board", "Description", "Keys", "Placing", "Pool", "documents", "files"]
