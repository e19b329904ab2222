"""How far the answers of a shadow agree with those that callers got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synfire.gateway.request import Answer
from synfire.ops import Array
from synfire.ops.language_model import read_pieces


@dataclass
class Comparison:
    """Counts of compared answers; they only grow.

    `equal` are those that were the same, bit for bit, or letter for letter. Of their `samples` those `agreed` in which the largest
    value of each vector lies in the same place; where an answer has no vectors, those that were the same. `difference` is the
    greatest distance of two numbers so far. `left_out` are calls of which no copy was made, because too many were under way.
    """

    compared: int = 0
    equal: int = 0
    samples: int = 0
    agreed: int = 0
    difference: float = 0.0
    left_out: int = 0

    def add(self, given: Sequence[Answer], shadow: Sequence[Answer], texts: bool) -> None:
        """Compare the parts of an answer with those of the shadow's. A language model's are `texts`."""
        self.compared += 1
        if texts:
            same = _said(given) == _said(shadow)
            self._count(same, 1, int(same))
            return
        alike = len(given) == len(shadow) and all(map(_alike, given, shadow))
        pairs = _pairs(given[-1], shadow[-1]) if alike else []
        samples = min((len(one) if one.ndim else 1 for one, _ in pairs), default=1)
        equal = alike and all(np.array_equal(*pair) for two in zip(given, shadow, strict=True) for pair in _pairs(*two))
        self._count(equal, samples, _agreed(pairs, samples) if alike else 0)
        self.difference = max([self.difference, *(_distance(*pair) for pair in pairs)])

    def _count(self, equal: bool, samples: int, agreed: int) -> None:
        self.equal += equal
        self.samples += samples
        self.agreed += agreed


def _said(answers: Sequence[Answer]) -> tuple[str, bytes, float]:
    """What a language model's answer says, however many pieces it came in."""
    pieces = [piece for each in answers for array in each.outputs.values() for piece in read_pieces(array)]
    vector = b"".join(each.vector for each in pieces)
    return "".join(each.text for each in pieces), vector, sum(each.relevance for each in pieces)


def _alike(one: Answer, other: Answer) -> bool:
    """Whether two parts have outputs of the same names and shapes."""
    return one.outputs.keys() == other.outputs.keys() and all(a.shape == b.shape for a, b in _pairs(one, other))


def _pairs(one: Answer, other: Answer) -> list[tuple[Array, Array]]:
    return [(array, other.outputs[name]) for name, array in one.outputs.items()]


def _agreed(pairs: Sequence[tuple[Array, Array]], samples: int) -> int:
    """How many samples have the largest value in the same place, in each vector that they have, or else are the same."""
    vectors = [(one, other) for one, other in pairs if _is_vectors(one) and len(one) == samples]
    if not vectors:
        equal = [all(np.array_equal(one[n], other[n]) for one, other in pairs if one.ndim) for n in range(samples)]
        return sum(equal)
    same = [one.argmax(axis=1) == other.argmax(axis=1) for one, other in vectors]
    return int(np.logical_and.reduce(same).sum())


def _is_vectors(array: Array) -> bool:
    return array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "fiu"


def _distance(one: Array, other: Array) -> float:
    if one.dtype.kind not in "fiu" or not one.size:
        return 0.0
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
