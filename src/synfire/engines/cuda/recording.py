"""CUDA graphs: a small block's launches, recorded once for its shapes and replayed as one.

Small batches are bound by launching kernels one after the other; a replay launches them all. Large ones are not, and would
hold memory for each shape.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from synfire.base.log import LOGGER
from synfire.engines.cuda.hardware import Gpu, Tensors
from synfire.ops import Array

MOST_BYTES = 16_000_000
"""Blocks whose inputs and states take more are not recorded: computing them takes longer than launching does. A guess."""

MOST_RECORDINGS = 16
"""How many shapes of one program are kept, the last used of them."""

Advance = Callable[[Tensors, int], Tensors]
"""(what a block begins with, its steps) → what it ends with; on the device alone, and pure."""

Shapes = tuple[int, tuple[tuple[str, tuple[int, ...]], ...]]
"""Steps, and the shape of each array that a block begins with."""


class Recorded(Protocol):
    """A block's launches with the memory that they read and write."""

    given: Tensors
    found: Tensors

    def replay(self) -> None:
        """Launch all."""


Record = Callable[[Advance, Tensors, int], Recorded]


@dataclass
class GraphRecording:
    """A CUDA graph. What it reads and writes stays where it is: `given` is filled before, and `found` read after a replay."""

    graph: torch.cuda.CUDAGraph
    given: Tensors
    found: Tensors

    def replay(self) -> None:
        self.graph.replay()


def record(here: Gpu) -> Record:
    """How blocks are recorded on a GPU. Other threads may go on using it meanwhile."""

    def recorded(advance: Advance, given: Tensors, steps: int) -> Recorded:
        graph, kept = torch.cuda.CUDAGraph(), {name: each.clone() for name, each in given.items()}
        with torch.cuda.graph(graph, stream=here.compute, capture_error_mode="thread_local"):
            found = {name: each.contiguous() for name, each in advance(kept, steps).items()}
        return GraphRecording(graph, kept, found)

    return recorded


class Recorder:
    """Keeps the recordings of one program. A shape is recorded when it comes for the second time: the first compiles its kernels."""

    def __init__(self, advance: Advance, record: Record) -> None:
        self._advance = advance
        self._record: Record | None = record
        self._kept: OrderedDict[Shapes, Recorded | None] = OrderedDict()

    def find(self, arrays: Mapping[str, Array], steps: int) -> Recorded | None:
        """The recording for a block of such shapes; None where there is none (yet)."""
        shapes = _shapes(arrays, steps)
        if shapes in self._kept:
            self._kept.move_to_end(shapes)
        return self._kept.get(shapes)

    def seen(self, arrays: Mapping[str, Array], given: Tensors, steps: int) -> None:
        """A block of such shapes was computed without a recording; `given` is what it began with."""
        if sum(array.nbytes for array in arrays.values()) > MOST_BYTES:
            return
        shapes = _shapes(arrays, steps)
        self._kept[shapes] = self._recorded(given, steps) if shapes in self._kept else None
        while len(self._kept) > MOST_RECORDINGS:
            self._kept.popitem(last=False)

    def _recorded(self, given: Tensors, steps: int) -> Recorded | None:
        """The recording, or None, for good, where the block does not let itself be recorded: nothing depends on it."""
        if self._record is None:
            return None
        try:
            return self._record(self._advance, given, steps)
        except RuntimeError as error:
            LOGGER.warning(
                "a block is launched kernel by kernel from now on, since no CUDA graph can be made of it: %s", error
            )
            self._record = None
            return None


def _shapes(arrays: Mapping[str, Array], steps: int) -> Shapes:
    return steps, tuple((name, array.shape) for name, array in arrays.items())
