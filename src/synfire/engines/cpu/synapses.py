"""Steps of synaptic operators: weights laid out for the kernels, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import kernels
from synfire.engines.cpu.rows import LANES
from synfire.engines.cpu.step import LAST, StatelessStep, dense, kernel_for
from synfire.ops import Array, Kind, Signal
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear
from synfire.ops.self_attention import SelfAttention


@kernel_for(Linear)
class LinearStep(StatelessStep):
    """Rows of the transposed weight, added for each active input."""

    def __init__(self, operator: Linear, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._outputs = operator.bias.size
        self.weight, self.bias = _padded(operator.weight.T), _padded(operator.bias)
        self._scaled = inputs[0].kind is not Kind.SPIKE

    def apply(self, *inputs: Array) -> Array:
        (x,) = inputs
        out = np.empty((*x.shape[:-1], self._outputs), np.float32)
        rows = dense(x).reshape(-1, x.shape[-1])
        kernels.linear(rows, self.weight, self.bias, self._scaled, out.reshape(-1, self._outputs))
        return out


@kernel_for(Conv2d)
class Conv2dStep(StatelessStep):
    """Channels last; groups run one after the other."""

    layout = LAST

    def __init__(self, operator: Conv2d, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layouts = (LAST,)
        self._groups = operator.groups
        self._size = np.array([*output.shape[1:], output.shape[0] // operator.groups], np.int64)
        weights = np.split(operator.weight, operator.groups)
        self._weights = [_padded(weight.transpose(2, 3, 1, 0)) for weight in weights]
        self._biases = [_padded(bias) for bias in np.split(operator.bias, operator.groups)]
        top, _, left, _ = operator.padding
        self._geometry = np.array([*operator.stride, top, left, *operator.dilation], np.int64)
        self._scaled = inputs[0].kind is not Kind.SPIKE

    def apply(self, *inputs: Array) -> Array:
        x = dense(inputs[0])
        if self._groups == 1:
            return self._convolve(x, 0)
        parts = np.split(x, self._groups, axis=-1)
        return np.concatenate([self._convolve(np.ascontiguousarray(p), g) for g, p in enumerate(parts)], axis=-1)

    def _convolve(self, x: Array, group: int) -> Array:
        shape = (x.shape[0], *self._size.tolist())
        out = np.empty(math.prod(shape) + LANES, np.float32)  # room for what the last pixel's vectors write beyond it
        weight, bias = self._weights[group], self._biases[group]
        kernels.conv2d(x, weight, bias, self._geometry, self._scaled, self._size, out)
        return out[: math.prod(shape)].reshape(shape)


@kernel_for(Conv1d)
class Conv1dStep(Conv2dStep):
    """A convolution over an image of height 1."""

    def __init__(self, operator: Conv1d, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        flat = Conv2d(
            operator.weight[:, :, None],
            operator.bias,
            (1, operator.stride),
            (0, 0, *operator.padding),
            (1, operator.dilation),
            operator.groups,
        )
        as_image = [signal.with_(shape=(signal.shape[0], 1, signal.shape[1])) for signal in (*inputs, output)]
        super().__init__(flat, as_image[:1], as_image[1], layouts)

    def apply(self, *inputs: Array) -> Array:
        return super().apply(inputs[0][:, None])[:, 0]


@kernel_for(SelfAttention)
class SelfAttentionStep(StatelessStep):
    """Of spikes, the products are whole numbers far below 2²⁴: exact in float32, so the fast matrix product is too."""

    def apply(self, *inputs: Array) -> Array:
        operator, most = self.operator, int(np.prod(inputs[0].shape[1:]))
        if any(signal.kind is not Kind.SPIKE for signal in self.inputs) or most >= 2**24:
            return super().apply(*inputs)
        assert isinstance(operator, SelfAttention)
        return operator.attend(*(each.astype(np.float32) for each in inputs))


def _padded(array: Array) -> Array:
    """A weight or bias with its last axis, the outputs, padded by zeros to whole vectors; −0 becomes +0."""
    missing = -array.shape[-1] % LANES
    return np.ascontiguousarray(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])) + np.float32(0)
