"""Spikes at a chip's data port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.words import Coordinate
from synfire.ops import Array


@dataclass(frozen=True, eq=False)
class Events:
    """Spikes at the data port, arrays of one length: `sample`, core `x`, `y`, `dendrite` there, `index` that the spike carries."""

    sample: Array
    x: Array
    y: Array
    dendrite: Array
    index: Array

    @classmethod
    def at(cls, core: Coordinate, dendrite: Array | int, sample: Array | int = 0, index: Array | int = 0) -> Events:
        """Events that all go to one core; dendrites, samples and indices broadcast."""
        sizes = [np.size(each) for each in (dendrite, sample, index) if np.ndim(each)]
        size = min(sizes) if 0 in sizes else max(sizes, default=1)
        return cls(*(_filled(each, size) for each in (sample, core[0], core[1], dendrite, index)))

    @classmethod
    def join(cls, *parts: Events) -> Events:
        """All events of all parts."""
        none = np.zeros(0, np.int64)
        columns = zip((none,) * 5, *(each.columns() for each in parts), strict=True)
        return cls(*(np.concatenate(each) for each in columns))

    def __len__(self) -> int:
        return len(self.sample)

    def __iter__(self) -> Iterator[tuple[int, Coordinate, int, int]]:
        """(sample, core, dendrite, index) of each event."""
        for sample, x, y, dendrite, index in zip(*(each.tolist() for each in self.columns()), strict=True):
            yield sample, (x, y), dendrite, index

    def columns(self) -> tuple[Array, ...]:
        """Sample, x, y, dendrite, index."""
        return self.sample, self.x, self.y, self.dendrite, self.index


def _filled(values: Array | int, size: int) -> Array:
    """`size` integers: those given, or one of them again and again."""
    if isinstance(values, int):
        return np.full(size, values, np.int64)
    given = np.asarray(values, np.int64).reshape(-1)
    if len(given) not in (1, size):
        raise UserError(
            f"events are made of {size} dendrites, samples and indices, and of {len(given)}; give as many, or one"
        )
    return given if len(given) == size else np.full(size, given[0])
