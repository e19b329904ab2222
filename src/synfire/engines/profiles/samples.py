"""Real inputs to measure a model with, and the right answers where they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.engines.measure import steps_of
from synfire.graph import Graph
from synfire.ops import Array
from synfire.zoo import digit_inputs, held_out_digits, picture_file, sample

FEW = 16
"""Samples of a model for which there is no held-out data here: as many as the largest batch that is measured."""

_RULES: Mapping[str, Callable[[Array], Array]] = {
    "digits": lambda digit: digit,
    "digit-graph": lambda digit: digit,
    "mnist": lambda digit: digit,
    "mnist-parity": lambda digit: digit % 2,
    "mnist-size": lambda digit: (digit >= 5).astype(np.int64),
}
"""What models of the zoo's data sets say of a handwritten digit, by `metadata["dataset"]`."""


@dataclass(frozen=True)
class Samples:
    """`count` requests side by side, with their classes where these are known; `batched` says that they may be computed together."""

    inputs: Mapping[str, Array]
    count: int
    steps: int
    labels: Array | None
    batched: bool

    def part(self, graph: Graph, start: int, count: int) -> dict[str, Array]:
        """`count` of the requests, beginning with number `start`."""
        chosen = slice(start, start + count)
        return {
            name: array[:, chosen] if graph.inputs[name].timed else array[chosen] for name, array in self.inputs.items()
        }


def samples(graph: Graph, count: int | None = None) -> Samples:
    """Held-out handwritten digits for a flat graph that takes them, made to what it was trained on; else the zoo's own samples.

    All of them, or the first `count`.
    """
    found, labels = _digits(graph, count) or ([sample(graph, seed) for seed in range(FEW)], None)
    batched = not any(-1 in signal.shape for signal in graph.signals().values())
    inputs = {
        name: np.concatenate([each[name] for each in found], axis=1 if signal.timed else 0)
        for name, signal in graph.inputs.items()
    }
    return Samples(inputs, len(found), graph.steps or steps_of(graph, inputs), labels, batched)


def _digits(graph: Graph, count: int | None) -> tuple[list[dict[str, Array]], Array] | None:
    """None for a model of another data set, and where scikit-learn, which brings the digits, is not installed."""
    rule = _RULES.get(str(graph.metadata.get("dataset")))
    if rule is None:
        return None
    try:
        images, digits = (each[:count] for each in held_out_digits())
    except UserError:
        return None
    file = picture_file(graph)
    return [digit_inputs(graph.inputs, image, file) for image in images], rule(digits)
