"""Change encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS, require_steps
from synfire.ops.operator import Operator, State, as_value, operator, require_kind
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class Delta(Operator):
    """S(t) = [X(t) − X(t−1) ≥ threshold], with X(−1) = 0: a spike where the value rose.

    With `polarities` a leading axis of 2 holds rises and falls, S_1(t) = [X(t−1) − X(t) ≥ threshold], as an event camera
    does. The rule is snnTorch's `spikegen.delta`, whose negative spikes are our second polarity. The state is `previous`.
    """

    threshold: float = 0.1
    polarities: bool = False

    def check(self) -> None:
        if not self.threshold > 0:
            raise UserError(f"Delta.threshold is {self.threshold}; it must be positive, or everything spikes at rest")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_steps("Delta", x)
        require_kind("Delta", x, *NUMBERS)
        return x.with_(shape=(2, *x.shape) if self.polarities else x.shape, kind=Kind.SPIKE)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"previous": np.zeros((batch, *inputs[0].shape), np.float32)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        x, threshold = as_value(inputs[0]), np.float32(self.threshold)
        change = x - state["previous"]
        spikes = change >= threshold
        if self.polarities:
            spikes = np.stack([spikes, -change >= threshold], axis=1)
        return {"previous": x}, spikes.astype(np.uint8)
