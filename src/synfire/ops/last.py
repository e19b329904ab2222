"""Last-value readout."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.ops.axes import require_steps
from synfire.ops.operator import Stateless, operator
from synfire.ops.signal import Array, Clock, Signal


@operator
@dataclass(frozen=True, eq=False)
class Last(Stateless):
    """Y(t) = X(t), of which the last one is the answer: the last membrane, when X is a leaky integrator's."""

    def infer(self, *inputs: Signal) -> Signal:
        require_steps("Last", inputs[0])
        return inputs[0].with_(clock=Clock.RUNNING)

    def apply(self, *inputs: Array) -> Array:
        return inputs[0]
