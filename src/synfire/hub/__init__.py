"""Models of many kinds by one name: found, pulled, pushed, created from a Modelfile, and carried in bundles."""

from synfire.hub.files import ModelFiles, resolve

__all__ = ["ModelFiles", "resolve"]
