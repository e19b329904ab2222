"""`.nir` files in the registry of formats."""

from __future__ import annotations

from pathlib import Path

from synfire.formats.discretisation import PRESETS
from synfire.formats.format import FORMATS, Format
from synfire.formats.nir.reading import read_nir


class NirFormat(Format):
    """Files that end in `.nir`."""

    name = "nir"
    looks_like = "a file that ends in .nir"
    needs = (
        f"how continuous time becomes steps is not in the file: one of {', '.join(PRESETS)}, and with it the time step "
        "dt_s (--dt-s) in seconds"
    )
    read = staticmethod(read_nir)

    def recognises(self, path: Path) -> bool:
        return path.is_file() and path.suffix == ".nir"


FORMATS.add(NirFormat.name, NirFormat())
