"""Lays a route's parts out as callers read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synfire.base.errors import UserError
from synfire.gateway.call import Part
from synfire.graph import Graph
from synfire.ops import Array, Clock, Signal


class Outlet:
    """The output rules of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._signals = graph.output_signals()
        self._batches = graph.batches

    def check(self, wanted: Sequence[str]) -> None:
        """Raise `UserError` unless each of the `wanted` outputs exists."""
        unknown = [name for name in wanted if name not in self._signals]
        if unknown:
            raise UserError(f"this model has no output {unknown}; its outputs are {sorted(self._signals)}")

    def lay_out(self, parts: Sequence[Part], wanted: Sequence[str]) -> dict[str, Array]:
        """The wanted outputs over the time steps of consecutive `parts`, batch first where there are batches."""
        found = {}
        for name in wanted or self._signals:
            values = [part.outputs[name] for part in parts if len(part.outputs.get(name, ()))]
            if values:
                joined = _join(self._signals[name], values)
                found[name] = joined if self._batches else joined.reshape(joined.shape[1:])
        return found


def _join(signal: Signal, values: Sequence[Array]) -> Array:
    if not signal.timed:
        return values[0]
    if signal.clock is Clock.RUNNING:
        return np.ascontiguousarray(values[-1][-1])
    return np.ascontiguousarray((values[0] if len(values) == 1 else np.concatenate(values)).swapaxes(0, 1))


def caller_shape(signal: Signal, output: bool, batches: bool = True) -> list[int]:
    """A signal's shape in a model's metadata; −1 stands for an axis that differs from request to request."""
    if not batches:
        return list(signal.shape)
    batch = 1 if -1 in signal.shape else -1
    steps = [-1] if signal.clock is Clock.STEP or (signal.timed and not output) else []
    return [batch, *steps, *signal.shape]
