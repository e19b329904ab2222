"""The axis that counts samples, as callers of a model see it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synfire.ops import Array, Signal

BATCHES = "batches"
"""A parameter of a model's metadata: false where its tensors have no axis that counts samples."""


def batch_first(signals: Mapping[str, Signal], inputs: Mapping[str, Array], batches: bool = True) -> dict[str, Array]:
    """Arrays as graphs take them, `(steps, batch, …)`, as callers send them, `(batch, steps, …)`; without the batch where there is
    none."""
    turned = {
        name: np.ascontiguousarray(array.swapaxes(0, 1)) if signals[name].timed else array
        for name, array in inputs.items()
    }
    return turned if batches else {name: array.reshape(array.shape[1:]) for name, array in turned.items()}
