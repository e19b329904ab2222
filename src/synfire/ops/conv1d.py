"""One-dimensional convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class Conv1d(Stateless):
    """Y[o, x] = bias[o] + Σ_{c,i} weight[o, i, c] · X[g(o) + i, x·stride + c·dilation − left].

    `weight` is `(output channel, input channel / groups, kernel)`, `bias` `(output channel,)`, the input
    `(channel, length)`. The padding is zeros: `(left, right)`. The sum starts from the bias and runs in ascending (c, i).
    With a kernel of 1 this is a Linear over channels-first tokens.
    """

    weight: Array
    bias: Array
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    groups: int = 1

    def check(self) -> None:
        if self.weight.ndim != 3 or self.bias.shape != self.weight.shape[:1]:
            raise UserError(
                f"Conv1d.weight {self.weight.shape} and bias {self.bias.shape} do not fit; they are "
                "(output, input / groups, kernel) and (output,)"
            )
        if self.groups < 1 or self.weight.shape[0] % self.groups:
            raise UserError(
                f"Conv1d has {self.weight.shape[0]} output channels, not a multiple of groups={self.groups}"
            )
        if self.stride < 1 or self.dilation < 1 or len(self.padding) != 2 or min(self.padding) < 0:
            raise UserError("Conv1d needs stride and dilation ≥ 1 and padding (left, right) ≥ 0")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_shape("Conv1d", x, 2)
        channels = self.weight.shape[1] * self.groups
        if x.shape[0] != channels:
            raise UserError(f"Conv1d takes {channels} input channels, got {x}; check the layer before")
        length = self.output_size(x.shape[1])
        if length < 1:
            raise UserError(f"Conv1d kernel {self.weight.shape[2]} does not fit into {x} with padding {self.padding}")
        return x.with_(shape=(self.weight.shape[0], length), kind=Kind.VALUE, clock=stepwise(x))

    def output_size(self, length: int) -> int:
        """Output length for an input of that length."""
        return (length + sum(self.padding) - self.dilation * (self.weight.shape[2] - 1) - 1) // self.stride + 1

    def apply(self, *inputs: Array) -> Array:
        x = as_value(inputs[0])
        batch, channels, length = x.shape
        positions = self.output_size(length)
        padded = np.pad(x, ((0, 0), (0, 0), self.padding))
        outputs, per_group = self.weight.shape[0] // self.groups, channels // self.groups
        total = np.broadcast_to(self.bias[:, None], (batch, self.bias.size, positions)).copy()
        for c in range(self.weight.shape[2]):
            start = c * self.dilation
            view = padded[:, :, start : start + (positions - 1) * self.stride + 1 : self.stride]
            for i in range(per_group):
                for g in range(self.groups):
                    out = slice(g * outputs, (g + 1) * outputs)
                    total[:, out] += view[:, g * per_group + i, None] * self.weight[out, i, c][:, None]
        return total
