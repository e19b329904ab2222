"""Model formats into graphs and back: our bundle, NIR, SpikingJelly."""

from synfire.formats.bundle import read_bundle, write_bundle
from synfire.formats.format import FORMATS, Format, load

__all__ = ["FORMATS", "Format", "load", "read_bundle", "write_bundle"]
