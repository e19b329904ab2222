"""What travels along a synapse: shape, number kind, and how often."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synfire.base.errors import UserError

Array = NDArray[Any]


class Kind(StrEnum):
    """Which numbers a signal carries, and so in which dtype it is kept.

    The first five have a meaning. The others are `plain` numbers in a format, as models of other frameworks take and give them: any
    that the format has, NaN included.
    """

    SPIKE = "spike"  # 0 or 1, uint8
    COUNT = "count"  # small non-negative integers (sums of spikes), int32
    VALUE = "value"  # float32
    INDEX = "index"  # int64
    BYTES = "bytes"  # one `bytes` object per sample

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self.value]

    @property
    def plain(self) -> bool:
        """Whether it says no more of the numbers than their format."""
        return self.value not in _MEANT


_MEANT: dict[str, np.dtype[Any]] = {
    Kind.SPIKE.value: np.dtype(np.uint8),
    Kind.COUNT.value: np.dtype(np.int32),
    Kind.VALUE.value: np.dtype(np.float32),
    Kind.INDEX.value: np.dtype(np.int64),
    Kind.BYTES.value: np.dtype(object),
}
_DTYPES = {**{each.value: np.dtype(each.value) for each in Kind if each.value not in _MEANT}, **_MEANT}


class Clock(StrEnum):
    """How often a signal has a new value."""

    REQUEST = "request"  # one value for the whole request: what a user sends, or its pre-processing
    STEP = "step"  # one value per time step
    RUNNING = "running"  # one value per time step, of which the last is the answer: a readout


@dataclass(frozen=True)
class Signal:
    """The type of one synapse.

    `shape` is that of one sample at one time step; batch and time axes are not in it. Spatial shapes are channels
    first, `(channel, height, width)`. A dimension of −1 may differ from request to request (an event list's length,
    say) and exists only on the request clock: a batch of such is an object array `(batch,)` with one array per sample.
    """

    shape: tuple[int, ...]
    kind: Kind = Kind.VALUE
    clock: Clock = Clock.STEP

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))

    @property
    def size(self) -> int:
        """Numbers per sample and step."""
        return math.prod(self.shape)

    @property
    def timed(self) -> bool:
        """Whether arrays of this signal have a leading time axis."""
        return self.clock is not Clock.REQUEST

    def with_(self, **changes: Any) -> Signal:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def __str__(self) -> str:
        often = str(self.clock) if self.clock is Clock.RUNNING else f"per {self.clock}"
        return f"{self.kind} {'×'.join(map(str, self.shape)) or 'scalar'} {often}"


def require_shape(where: str, signal: Signal, ndim: int) -> None:
    """Raise `UserError` unless `signal` has `ndim` dimensions."""
    if len(signal.shape) != ndim:
        raise UserError(
            f"{where} takes an input of {ndim} dimensions per sample, got {signal}; insert a Flatten or Reshape before it"
        )
