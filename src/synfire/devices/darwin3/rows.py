"""Sparse synapse lists: what each source channel adds to which targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops import Array


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse matrix by rows: row r adds `weights[k]` to `targets[k]` for k in `pointers[r]` … `pointers[r + 1]`.

    A crossbar keeps a row as one dendrite: a spike that arrives there adds the whole row. `width` is the number of targets;
    targets ascend within a row. Weights are float64: an image rounds them once.
    """

    pointers: Array
    targets: Array
    weights: Array
    width: int

    def __len__(self) -> int:
        return len(self.pointers) - 1

    @property
    def lengths(self) -> Array:
        """Synapses of each row."""
        return np.diff(self.pointers)

    @property
    def of_row(self) -> Array:
        """The row of each synapse."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def transformed(self, weights: Array) -> Rows:
        """The same pattern with other weights."""
        return Rows(self.pointers, self.targets, weights, self.width)

    def dense(self) -> Array:
        """`(row, target)`, for tests and small matrices."""
        matrix = np.zeros((len(self), self.width))
        np.add.at(matrix, (self.of_row, self.targets), self.weights)
        return matrix


def identity(size: int) -> Rows:
    """Row r adds 1 to target r."""
    return Rows(np.arange(size + 1), np.arange(size, dtype=np.int64), np.ones(size), size)


def from_triples(rows: int, width: int, row: Array, target: Array, weight: Array) -> Rows:
    """The matrix whose entries are given in any order; entries of one place add up."""
    key = row.astype(np.int64) * width + target
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.empty(0, np.int64)
    weights = np.add.reduceat(weight[order].astype(np.float64), first) if len(key) else np.empty(0)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(key[first] // width, minlength=rows))])
    return Rows(pointers.astype(np.int64), key[first] % width, weights, width)


def dense_rows(matrix: Array) -> Rows:
    """All-to-all: `matrix` is `(row, target)`."""
    rows, width = matrix.shape
    targets = np.tile(np.arange(width, dtype=np.int64), rows)
    return Rows(np.arange(rows + 1) * width, targets, matrix.astype(np.float64).ravel(), width)


def compose(first: Rows, then: Rows) -> Rows:
    """What `then` makes of what `first` adds up: the matrix product."""
    if _is_identity(first):
        return then
    if _is_identity(then):
        return first
    lengths = then.lengths[first.targets]
    start = np.repeat(then.pointers[first.targets], lengths)
    place = start + np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    weights = np.repeat(first.weights, lengths) * then.weights[place]
    return from_triples(len(first), then.width, np.repeat(first.of_row, lengths), then.targets[place], weights)


def distinct(rows: Rows) -> tuple[Array, Rows]:
    """`(index, rows)` without repeated rows: row r of before is row `index[r]` of after; −1 where it adds nothing."""
    seen: dict[bytes, int] = {}
    index = np.full(len(rows), -1, np.int64)
    kept: list[int] = []
    for r, (start, end) in enumerate(zip(rows.pointers[:-1], rows.pointers[1:], strict=True)):
        if start == end:
            continue
        key = rows.targets[start:end].tobytes() + rows.weights[start:end].tobytes()
        index[r] = seen.setdefault(key, len(kept))
        if index[r] == len(kept):
            kept.append(r)
    return index, take(rows, np.array(kept, np.int64))


def take(rows: Rows, chosen: Array) -> Rows:
    """Some rows, in the order given."""
    lengths = rows.lengths[chosen]
    ends = np.cumsum(lengths)
    place = np.repeat(rows.pointers[chosen] - (ends - lengths), lengths) + np.arange(lengths.sum())
    pointers = np.concatenate([[0], ends]).astype(np.int64)
    return Rows(pointers, rows.targets[place], rows.weights[place], rows.width)


def restrict(rows: Rows, start: int, end: int) -> Rows:
    """The columns `start` … `end` − 1, counted from `start`."""
    inside = (rows.targets >= start) & (rows.targets < end)
    counts = np.concatenate([[0], np.cumsum(inside)])
    return Rows(counts[rows.pointers], rows.targets[inside] - start, rows.weights[inside], end - start)


def _is_identity(rows: Rows) -> bool:
    size = len(rows)
    return (
        rows.width == size == len(rows.targets)
        and bool((rows.weights == 1).all())
        and bool((rows.targets == np.arange(size)).all())
        and bool((rows.pointers == np.arange(size + 1)).all())
    )
