"""What a model is measured on where nobody gave samples: real ones that come with scikit-learn, else those that the zoo makes up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synfire.engines.samples import FEW, Samples, Source
from synfire.graph import Graph
from synfire.ops import Array
from synfire.zoo import digit_inputs, digits_are_here, held_out_digits, picture_file, sample

DIGITS, MADE_UP = "held-out digits", "made-up inputs"

_RULES: Mapping[str, Callable[[Array], Array]] = {
    "digits": lambda digit: digit,
    "digit-graph": lambda digit: digit,
    "mnist": lambda digit: digit,
    "mnist-parity": lambda digit: digit % 2,
    "mnist-size": lambda digit: (digit >= 5).astype(np.int64),
}
"""What models of the zoo's data sets say of a handwritten digit, by `metadata["dataset"]`."""


def own_samples(graph: Graph) -> Source:
    """Held-out handwritten digits, all or the first, for a flat graph that takes them, made to what it was trained on; else `FEW` of the
    zoo's own samples."""
    rule = _RULES.get(str(graph.metadata.get("dataset")))
    if rule is None or not digits_are_here():
        return Source(MADE_UP, MADE_UP, lambda count: _made_up(graph, min(count or FEW, FEW)))
    return Source(DIGITS, DIGITS, lambda count: _digits(graph, rule, count))


def _digits(graph: Graph, rule: Callable[[Array], Array], count: int | None) -> Samples:
    images, digits = (each[:count] for each in held_out_digits())
    file = picture_file(graph)
    return Samples.of(graph, _joined(graph, [digit_inputs(graph.inputs, each, file) for each in images]), rule(digits))


def _made_up(graph: Graph, count: int) -> Samples:
    return Samples.of(graph, _joined(graph, [sample(graph, seed) for seed in range(count)]))


def _joined(graph: Graph, requests: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {
        name: np.concatenate([each[name] for each in requests], axis=1 if signal.timed else 0)
        for name, signal in graph.inputs.items()
    }
