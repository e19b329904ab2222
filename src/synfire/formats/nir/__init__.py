"""NIR, the Neuromorphic Intermediate Representation (doi:10.1038/s41467-024-52259-9): files in and out."""

from synfire.formats.nir.nir_format import NirFormat
from synfire.formats.nir.reading import read_nir
from synfire.formats.nir.writing import write_nir

__all__ = ["NirFormat", "read_nir", "write_nir"]
