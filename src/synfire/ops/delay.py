"""A signal, some time steps later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_broadcast, require_steps
from synfire.ops.operator import Operator, State, operator
from synfire.ops.signal import Array, Signal


@operator
@dataclass(frozen=True, eq=False)
class Delay(Operator):
    """Y(t) = X(t − steps), and 0 before the first value arrives.

    `steps` is one whole number of time steps, or an int64 array that broadcasts to the input shape: a delay per element
    (NIR's Delay, once divided by dt). The state `line` is `(batch, longest delay, *shape)`, oldest first.
    """

    steps: Array | int

    def check(self) -> None:
        if np.asarray(self.steps).dtype.kind not in "iu" or np.any(np.asarray(self.steps) < 0):
            raise UserError("Delay.steps must be whole numbers ≥ 0; divide the delay in seconds by dt_s and round it")

    @property
    def longest(self) -> int:
        """The largest delay of any element, in steps."""
        return int(np.max(self.steps, initial=0))

    def infer(self, *inputs: Signal) -> Signal:
        require_steps("Delay", inputs[0])
        require_broadcast("Delay.steps", np.asarray(self.steps), inputs[0])
        return inputs[0]

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        (x,) = inputs
        return {"line": np.zeros((batch, self.longest, *x.shape), x.kind.dtype)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        line = np.concatenate([state["line"], inputs[0][:, None]], axis=1)
        age = np.broadcast_to(self.longest - np.asarray(self.steps), line.shape[2:])[None, None]
        delayed = np.take_along_axis(line, age, axis=1)[:, 0]
        return {"line": line[:, 1:]}, delayed
