"""From the bytes of an event file to rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_request
from synfire.ops.operator import Stateless, operator, require_kind
from synfire.ops.samples import each_sample
from synfire.ops.signal import Array, Kind, Signal

_ROW_BYTES = 32


@operator
@dataclass(frozen=True, eq=False)
class EventDecode(Stateless):
    """Y[n] = (t_us, x, y, p)_n, `(−1, 4)`; X is the file's bytes: four little-endian int64 per event and nothing else.

    For numpy, `events.astype("<i8").tobytes()` of rows in that order. More than `max_events` are refused. Raises
    `UserError` at a step for bytes that do not divide into rows. EventFrames checks the rows themselves.
    """

    max_events: int = 4_194_304

    def check(self) -> None:
        if self.max_events < 1:
            raise UserError(f"EventDecode.max_events is {self.max_events}; it must be ≥ 1")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("EventDecode", x)
        require_kind("EventDecode", x, Kind.BYTES)
        if x.shape:
            raise UserError(f"EventDecode takes one file per request, got {x}; send a scalar of bytes")
        return Signal((-1, 4), Kind.INDEX, x.clock)

    def apply(self, *inputs: Array) -> Array:
        ragged = np.empty(len(inputs[0]), object)
        for sample, rows in enumerate(each_sample(self.decode, inputs[0])):
            ragged[sample] = rows
        return ragged

    def decode(self, data: bytes) -> Array:
        """One file's rows `(events, 4)`, int64."""
        if not data or len(data) % _ROW_BYTES:
            raise UserError(
                f"{len(data)} bytes are not rows of four little-endian int64 (t_us, x, y, p), {_ROW_BYTES} bytes each; "
                "send events.astype('<i8').tobytes()"
            )
        if len(data) // _ROW_BYTES > self.max_events:
            raise UserError(f"the file holds {len(data) // _ROW_BYTES} events, more than {self.max_events}; send fewer")
        return np.frombuffer(data, "<i8").reshape(-1, 4).astype(np.int64)
