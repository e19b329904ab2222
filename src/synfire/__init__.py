"""synfire serves spiking neural networks operator by operator."""

__version__ = "0.1.0"

from synfire.functions.declaring import operator

__all__ = ["operator"]
