"""Operators that a crossbar computes as they are: matrices from input to output elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from synfire.devices.darwin3.rows import Rows, dense_rows, from_triples
from synfire.ops import Array, Operator, Signal
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.identity import Identity
from synfire.ops.linear import Linear
from synfire.ops.operator import Stateless
from synfire.ops.reshape import Reshape
from synfire.ops.scale import Scale
from synfire.ops.slice import Slice
from synfire.ops.sum_pool2d import SumPool2d
from synfire.ops.transpose import Transpose


def linear_map(operator: Operator, signal: Signal) -> Rows | None:
    """The operator, but for its bias, as a matrix over flattened samples; None for one that is not linear or not known."""
    make = _MAPS.get(type(operator))
    return None if make is None else make(operator, signal)


def is_linear(operator: Operator) -> bool:
    """Whether `linear_map` knows the operator."""
    return type(operator) in _MAPS


def window_rows(operator: Stateless, signal: Signal) -> Rows:
    """Which inputs each output of a pooling operator sees, with the weight that it gives them.

    Found by asking: the operator is shown every place of one channel in turn. A maximum answers 1 where its window looks.
    """
    channels, *sizes = signal.shape
    places = int(np.prod(sizes))
    shown = np.eye(places, dtype=np.float32).reshape(places, 1, *sizes)
    seen = operator.apply(shown).reshape(places, -1)
    place, out = np.nonzero(seen)
    c = np.arange(channels)[:, None]
    weight = np.broadcast_to(seen[place, out], (channels, len(place)))
    rows, targets = c * places + place, c * seen.shape[1] + out
    return from_triples(signal.size, channels * seen.shape[1], rows.ravel(), targets.ravel(), weight.ravel())


def _linear(operator: Any, signal: Signal) -> Rows:
    outputs, inputs = operator.weight.shape
    repeat = signal.size // inputs
    one = dense_rows(operator.weight.T)
    rows = np.concatenate([one.of_row + i * inputs for i in range(repeat)])
    targets = np.concatenate([one.targets + i * outputs for i in range(repeat)])
    if repeat == 1:
        return one
    weights = np.tile(one.weights, repeat)
    return from_triples(signal.size, repeat * outputs, rows, targets, weights)


def _conv2d(operator: Any, signal: Signal) -> Rows:
    _, height, width = signal.shape
    top, _, left, _ = operator.padding
    down = _taps(height, operator.output_size(height, width)[0], operator.weight.shape[2], operator.stride[0],
                 operator.dilation[0], top)  # fmt: skip
    across = _taps(width, operator.output_size(height, width)[1], operator.weight.shape[3], operator.stride[1],
                   operator.dilation[1], left)  # fmt: skip
    sizes = (height, width), operator.output_size(height, width)
    return _convolution(operator, operator.weight, down, across, *sizes)


def _conv1d(operator: Any, signal: Signal) -> Rows:
    length = signal.shape[1]
    out = operator.output_size(length)
    across = _taps(length, out, operator.weight.shape[2], operator.stride, operator.dilation, operator.padding[0])
    one = np.zeros(1, np.int64)
    return _convolution(operator, operator.weight[:, :, None], (one, one, one), across, (1, length), (1, out))


Taps = tuple[Array, Array, Array]


def _taps(size: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> Taps:
    """`(input place, output place, kernel place)` of every tap of a convolution along one axis."""
    o, k = (each.ravel() for each in np.meshgrid(np.arange(out), np.arange(kernel), indexing="ij"))
    i = o * stride + k * dilation - before
    inside = (i >= 0) & (i < size)
    return i[inside], o[inside], k[inside]


def _convolution(
    operator: Any, weight: Array, down: Taps, across: Taps, size: tuple[int, int], out: tuple[int, int]
) -> Rows:
    a, b = (each.ravel() for each in np.meshgrid(np.arange(len(down[0])), np.arange(len(across[0])), indexing="ij"))
    taps = weight[:, :, down[2][a], across[2][b]]  # (output channel, input channel of the group, tap)
    outputs, inputs = len(weight), weight.shape[1]
    group = np.arange(outputs) // (outputs // operator.groups)
    channel = group[:, None, None] * inputs + np.arange(inputs)[None, :, None]
    row = channel * size[0] * size[1] + down[0][a] * size[1] + across[0][b]
    target = np.arange(outputs)[:, None, None] * out[0] * out[1] + down[1][a] * out[1] + across[1][b]
    flat = (each.ravel() for each in np.broadcast_arrays(row, target, taps))
    return from_triples(inputs * operator.groups * size[0] * size[1], outputs * out[0] * out[1], *flat)


def _pooling(operator: Any, signal: Signal) -> Rows:
    return window_rows(operator, signal)


def _selection(operator: Any, signal: Signal) -> Rows:
    """An operator that only moves elements: it is shown their numbers."""
    numbers = np.arange(1, signal.size + 1, dtype=np.int64).reshape(1, *signal.shape)
    chosen = np.asarray(operator.apply(numbers)).ravel() - 1
    ones = np.ones(len(chosen))
    return from_triples(signal.size, len(chosen), chosen, np.arange(len(chosen)), ones)


def _scale(operator: Any, signal: Signal) -> Rows:
    factor = np.broadcast_to(operator.factor, signal.shape).ravel().astype(np.float64)
    every = np.arange(signal.size)
    return from_triples(signal.size, signal.size, every, every, factor)


_MAPS: dict[type[Operator], Callable[[Any, Signal], Rows]] = {
    Linear: _linear,
    Conv1d: _conv1d,
    Conv2d: _conv2d,
    AvgPool1d: _pooling,
    AvgPool2d: _pooling,
    SumPool2d: _pooling,
    AdaptiveAvgPool2d: _pooling,
    GlobalAvgPool: _pooling,
    Flatten: _selection,
    Reshape: _selection,
    Transpose: _selection,
    Slice: _selection,
    Identity: _selection,
    Scale: _scale,
}
