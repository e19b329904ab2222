"""Pickles, which are recognised only to be refused: loading one runs whatever code its author put there."""

from __future__ import annotations

from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.format import FORMATS, Format
from synfire.graph import Graph

SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")


class Pickled(Format):
    """A file that torch, pickle or a checkpoint library wrote."""

    name = "pickle"
    looks_like = "refused: " + ", ".join(SUFFIXES)

    def recognises(self, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() in SUFFIXES

    def read(self, path: Path) -> Graph:
        """Always raises `UserError` with the way round."""
        raise UserError(
            f"{path} may be a pickle, and synfire never loads one, because that runs code from the file; in Python, build the "
            "module, load the weights yourself (saved as safetensors if they come from others), call "
            "synfire.formats.spikingjelly.from_module(net, ...) and write_bundle(graph, path), then serve that bundle"
        )


FORMATS.add(Pickled.name, Pickled())
