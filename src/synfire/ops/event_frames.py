"""From an event camera's list to frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_request
from synfire.ops.exact_decimal import exact
from synfire.ops.operator import Stateless, operator, require_kind
from synfire.ops.samples import each_sample
from synfire.ops.signal import Array, Kind, Signal

_COLUMNS = ("t", "x", "y", "p")


@operator
@dataclass(frozen=True, eq=False)
class EventFrames(Stateless):
    """Y[s, p, y, x] = [some event of polarity p at (x, y) has ⌊(t − t_0) / dt⌋ = s], or how many, when `counts`.

    X is `(−1, 4)`: one row (t in microseconds, x, y, p) per event, in order of time; t_0 is the first event's. Y is
    `(steps, 2, height, width)`, spikes or counts, for a Sequence to read. dt is `dt_s` in whole microseconds; events
    from step `steps` on are left out. Raises `UserError` at a step, naming the row, for events out of order or place.
    """

    steps: int
    height: int
    width: int
    dt_s: float
    counts: bool = False

    def check(self) -> None:
        if min(self.steps, self.height, self.width) < 1:
            raise UserError("EventFrames needs steps, height and width ≥ 1")
        if self.dt_us < 1:
            raise UserError(f"EventFrames.dt_s is {self.dt_s}; the shortest step is one microsecond, 1e-6")

    @property
    def dt_us(self) -> int:
        """A step in microseconds."""
        return round(exact(self.dt_s) * 1e6)

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("EventFrames", x)
        require_kind("EventFrames", x, Kind.INDEX)
        if len(x.shape) != 2 or x.shape[1] != len(_COLUMNS):
            raise UserError(f"EventFrames takes rows (t_us, x, y, p) of shape (−1, 4), got {x}; reorder the columns")
        kind = Kind.COUNT if self.counts else Kind.SPIKE
        return x.with_(shape=(self.steps, 2, self.height, self.width), kind=kind)

    def apply(self, *inputs: Array) -> Array:
        return np.stack(each_sample(self.frames, inputs[0]))

    def frames(self, events: Array) -> Array:
        """The frames `(steps, 2, height, width)` of one recording `(events, 4)`."""
        self._require_valid(events)
        t, x, y, p = events.T
        step = (t - t[0]) // self.dt_us
        kept = step < self.steps
        at = (step[kept], p[kept], y[kept], x[kept])
        shape = (self.steps, 2, self.height, self.width)
        if not self.counts:
            frames = np.zeros(shape, np.uint8)
            frames[at] = 1
            return frames
        cells = np.ravel_multi_index(at, shape)
        return np.bincount(cells, minlength=int(np.prod(shape))).astype(np.int32).reshape(shape)

    def _require_valid(self, events: Array) -> None:
        if events.ndim != 2 or events.shape[1] != len(_COLUMNS) or events.dtype.kind not in "iu":
            raise UserError(f"events are {events.dtype} {events.shape}; send whole numbers, rows of (t_us, x, y, p)")
        if not len(events):
            raise UserError("the recording holds no events; send at least one row (t_us, x, y, p)")
        for column, size in ((1, self.width), (2, self.height), (3, 2)):
            values = events[:, column]
            wrong = (values < 0) | (values >= size)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise UserError(
                    f"event row {row} has {_COLUMNS[column]} = {values[row]}; this model's sensor goes from 0 to {size - 1}"
                )
        back = np.diff(events[:, 0]) < 0
        if back.any():
            row = int(np.argmax(back)) + 1
            raise UserError(f"event row {row} is earlier than the row before; sort the events by time (microseconds)")
