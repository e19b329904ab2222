"""A stage's signals as the tensors of the Open Inference Protocol: callers have the batch first, engines the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.ops import Array, Signal
from synfire.wire import oip
from synfire.worker.stage import Stage


def inputs_of(name: str, signals: Mapping[str, Signal], given: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors in the dtypes of the stage's signals. Raises `UserError` for a missing, unknown or mistyped one."""
    if set(given) != set(signals):
        raise UserError(f"{name} takes the inputs {sorted(signals)}, got {sorted(given)}")
    found = {}
    for each, array in given.items():
        wanted = signals[each].kind.dtype
        if array.dtype != wanted and not (array.dtype == np.bool_ and wanted == np.uint8):
            raise UserError(
                f"input {each!r} of {name} is {oip.datatype_of(array.dtype)}; it takes {oip.datatype_of(wanted)}"
            )
        _check_shape(f"input {each!r} of {name}", signals[each], array.shape)
        found[each] = array.astype(wanted, copy=False)
    return found


def _check_shape(where: str, signal: Signal, shape: tuple[int, ...]) -> None:
    """Raise `UserError` for another shape than the signal's, in the words of callers, whose batch comes first."""
    ahead = 2 if signal.timed else 1
    own = shape[ahead:]
    if len(own) != len(signal.shape) or any(n not in (-1, size) for n, size in zip(signal.shape, own, strict=True)):
        axes = ", ".join(str(n) if n >= 0 else "any" for n in signal.shape)
        takes = "batch, steps" if signal.timed else "batch"
        raise UserError(f"{where} has shape {list(shape)}; it takes [{', '.join(filter(None, (takes, axes)))}]")


def turned(signals: Mapping[str, Signal], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those on the step clock with their first two axes exchanged: callers have the batch first, engines the steps."""
    return {
        name: np.ascontiguousarray(array.swapaxes(0, 1)) if signals[name].timed else array
        for name, array in arrays.items()
    }


def with_batch(stage: Stage, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    """Tensors with the axis of the batch, which callers of a stage that takes no batches leave out."""
    return arrays if stage.graph.batches else {name: array[None] for name, array in arrays.items()}


def without_batch(stage: Stage, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    """The inverse of `with_batch`."""
    return arrays if stage.graph.batches else {name: array.reshape(array.shape[1:]) for name, array in arrays.items()}


def metadata(name: str, stage: Stage) -> dict[str, Any]:
    batch = [-1] if stage.graph.batches else []

    def tensors(signals: Mapping[str, Signal]) -> list[dict[str, Any]]:
        return [
            {
                "name": each,
                "datatype": oip.datatype_of(signal.kind.dtype),
                "shape": [*batch, -1, *signal.shape] if signal.timed else [*batch, *signal.shape],
            }
            for each, signal in signals.items()
        ]

    return {
        "name": name,
        "versions": ["1"],
        "platform": f"synfire_{stage.host.engine}",
        "inputs": tensors(stage.inputs),
        "outputs": tensors(stage.outputs),
    }
