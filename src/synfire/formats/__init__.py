"""Model formats into graphs and back: our bundle, NIR, SpikingJelly."""

from synfire.formats.bundle import read_bundle, write_bundle
from synfire.formats.format import FORMATS, Format, load, options_of

__all__ = ["FORMATS", "Format", "load", "options_of", "read_bundle", "write_bundle"]
