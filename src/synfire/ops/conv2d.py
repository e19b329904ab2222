"""Two-dimensional convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class Conv2d(Stateless):
    """Y[o, y, x] = bias[o] + Σ_{r,c,i} weight[o, i, r, c] · X[g(o) + i, y·s_h + r·d_h − p_h, x·s_w + c·d_w − p_w].

    `weight` is `(output channel, input channel / groups, kernel height, kernel width)`, `bias` `(output channel,)`. The
    padding is zeros: `(top, bottom, left, right)`. The sum starts from the bias and runs in ascending (r, c, i), which
    is ascending input index with channels last. This is cross-correlation, as in every deep-learning framework.
    """

    weight: Array
    bias: Array
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def check(self) -> None:
        if self.weight.ndim != 4 or self.bias.shape != self.weight.shape[:1]:
            raise UserError(
                f"Conv2d.weight {self.weight.shape} and bias {self.bias.shape} do not fit; they are "
                "(output, input / groups, height, width) and (output,)"
            )
        if self.groups < 1 or self.weight.shape[0] % self.groups:
            raise UserError(
                f"Conv2d has {self.weight.shape[0]} output channels, not a multiple of groups={self.groups}"
            )
        if min(self.stride) < 1 or min(self.dilation) < 1 or min(self.padding) < 0 or len(self.padding) != 4:
            raise UserError("Conv2d needs stride and dilation ≥ 1 and padding (top, bottom, left, right) ≥ 0")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_shape("Conv2d", x, 3)
        channels = self.weight.shape[1] * self.groups
        if x.shape[0] != channels:
            raise UserError(f"Conv2d takes {channels} input channels, got {x}; check the layer before")
        height, width = self.output_size(x.shape[1], x.shape[2])
        if height < 1 or width < 1:
            raise UserError(f"Conv2d kernel {self.weight.shape[2:]} does not fit into {x} with padding {self.padding}")
        return x.with_(shape=(self.weight.shape[0], height, width), kind=Kind.VALUE, clock=stepwise(x))

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output (height, width) for an input of that size."""
        top, bottom, left, right = self.padding
        rows = (height + top + bottom - self.dilation[0] * (self.weight.shape[2] - 1) - 1) // self.stride[0] + 1
        columns = (width + left + right - self.dilation[1] * (self.weight.shape[3] - 1) - 1) // self.stride[1] + 1
        return rows, columns

    def apply(self, *inputs: Array) -> Array:
        x = as_value(inputs[0])
        batch, channels, height, width = x.shape
        rows, columns = self.output_size(height, width)
        top, bottom, left, right = self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        outputs, per_group = self.weight.shape[0] // self.groups, channels // self.groups
        total = np.broadcast_to(self.bias[:, None, None], (batch, self.bias.size, rows, columns)).copy()
        for r in range(self.weight.shape[2]):
            for c in range(self.weight.shape[3]):
                y0, x0 = r * self.dilation[0], c * self.dilation[1]
                view = padded[
                    :,
                    :,
                    y0 : y0 + (rows - 1) * self.stride[0] + 1 : self.stride[0],
                    x0 : x0 + (columns - 1) * self.stride[1] + 1 : self.stride[1],
                ]
                for i in range(per_group):
                    for g in range(self.groups):
                        out = slice(g * outputs, (g + 1) * outputs)
                        source = view[:, g * per_group + i, None]
                        total[:, out] += source * self.weight[out, i, r, c][:, None, None]
        return total
