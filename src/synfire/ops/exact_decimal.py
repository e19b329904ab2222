"""Floats as they were written."""

from __future__ import annotations

import numpy as np


def exact(parameter: float) -> float:
    """The shortest decimal that rounds to the parameter's float32, as float64.

    A bundle keeps floats as float32; pre-processing computes in float64 and means the number that was written, 1e-4 say,
    not its float32 neighbour 9.99999974e-05.
    """
    return float(str(np.float32(parameter)))
