"""How each operator becomes lines of the tape; one function each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from synfire.engines.cpu import tape
from synfire.engines.cpu.dense_kernels import TOGETHER, fits_registers
from synfire.engines.cpu.narrow import half_reach, narrow_reach
from synfire.engines.cpu.reach import Axis, Reach, grouped, joined, reach
from synfire.engines.cpu.tape import COUNTS, FLOATS, SPIKES
from synfire.engines.cpu.tiled_kernels import FRAMES
from synfire.engines.cpu.vectors import LANES
from synfire.engines.cpu.writing import (
    EXACT,
    FIRST,
    LAST,
    Line,
    Memory,
    Refusal,
    Value,
    Writer,
    lines_for,
    list_places,
    narrow,
    whole,
)
from synfire.ops import Array, Kind, Signal
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.add import Add
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.identity import Identity
from synfire.ops.linear import Linear
from synfire.ops.max_pool1d import MaxPool1d
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.multiply import Multiply
from synfire.ops.pooling import Pool, Window
from synfire.ops.reshape import Reshape
from synfire.ops.self_attention import CHANNELS_FIRST, SelfAttention
from synfire.ops.slice import Slice
from synfire.ops.sum_pool2d import SumPool2d
from synfire.ops.token_mean import TokenMean
from synfire.ops.token_sum import TokenSum

TILED_BYTES = 1 << 18
"""Weights that are larger are divided into tiles: less stays in a processor's second cache from one frame to the next."""

BLOCK_BYTES = 1 << 15
"""What the weights of one block of inputs take: they stay in the nearest cache while all frames use them."""


INPUTS = 128
"""Inputs of one block of a synapse that is summed densely, and is not in tiles."""

FEW_CHANNELS = 8
"""Of fewer, a place of an image has mostly one that is active, or none."""

CROSSINGS = {
    True: {1: (230, 200), 2: (450, 400), 3: (450, 410), 4: (500, 450), 5: (580, 530)},
    False: {1: (200, 170), 2: (350, 300), 3: (380, 340), 4: (440, 400), 5: (530, 480)},
}
"""For spikes, and for numbers, by vectors of outputs: from how many thousandths of active inputs on a synapse is summed densely, and
below how many no longer. The second ones are where both kernels took the same time on an AMD EPYC with AVX-512."""


@lines_for(ConstantCurrent)
def hold(writer: Writer, operator: ConstantCurrent, inputs: Sequence[Value], output: Signal) -> Value:
    """The same value at every step: nothing to do."""
    return replace(inputs[0], signal=output)


@lines_for(Identity)
def pass_on(writer: Writer, operator: Identity, inputs: Sequence[Value], output: Signal) -> Value:
    return replace(inputs[0], signal=output)


@lines_for(Flatten, Reshape, small=True)
def reshape(writer: Writer, operator: Flatten | Reshape, inputs: Sequence[Value], output: Signal) -> Value:
    """Nothing to do while the channels keep their axis; else the value is turned to channels first before."""
    (x,) = inputs
    kept = len(output.shape) > 1 and len(x.signal.shape) > 1 and output.shape[0] == x.signal.shape[0]
    return replace(x if kept else writer.laid(x, FIRST), signal=output)


@lines_for(Linear, small=True)
def linear(writer: Writer, operator: Linear, inputs: Sequence[Value], output: Signal) -> Value:
    x = writer.laid(inputs[0], FIRST)
    pixels = Axis(x.places, x.places, 1)
    weight = operator.weight[:, :, None, None]
    return synapse(writer, replace(x, layout=FIRST), weight, operator.bias, (Axis(1, 1, 1), pixels), output)


@lines_for(Conv2d, small=True)
def conv2d(writer: Writer, operator: Conv2d, inputs: Sequence[Value], output: Signal) -> Value:
    x = writer.laid(inputs[0], LAST)
    _, height, width = x.signal.shape
    (sy, sx), (top, _, left, _), (dy, dx) = operator.stride, operator.padding, operator.dilation
    _, _, kernel_h, kernel_w = operator.weight.shape
    down = Axis(height, output.shape[1], kernel_h, sy, top, dy)
    along = Axis(width, output.shape[2], kernel_w, sx, left, dx)
    return synapse(writer, x, grouped(operator.weight, operator.groups), operator.bias, (down, along), output)


@lines_for(Conv1d, small=True)
def conv1d(writer: Writer, operator: Conv1d, inputs: Sequence[Value], output: Signal) -> Value:
    x = writer.laid(inputs[0], LAST)
    _, width = x.signal.shape
    weight = grouped(operator.weight[:, :, None], operator.groups)
    along = Axis(width, output.shape[1], weight.shape[3], operator.stride, operator.padding[0], operator.dilation)
    return synapse(writer, x, weight, operator.bias, (Axis(1, 1, 1), along), output)


def synapse(writer: Writer, x: Value, weight: Array, bias: Array, axes: tuple[Axis, Axis], output: Signal) -> Value:
    """A line that sums the weights `(output, input, row, column)` along (down, along)."""
    narrow = writer.narrow if x.format == SPIKES else tape.WIDE
    if x.format != FLOATS and narrow == tape.WIDE and _pays_in_pairs(weight, axes[1]):
        weight, along = joined(weight, axes[1], 2)
        axes = axes[0], along
    down, along = axes
    shape = (down.inputs, along.inputs, weight.shape[1])
    if narrow == tape.BYTES:
        return narrow_synapse(writer, x, narrow_reach(weight, bias, down, along), shape, output)
    tile = _tile(weight, axes)
    source = writer.listed(x, *shape) if tile else x
    target = writer.value(output, x.layout, FLOATS, x.still)
    line = writer.line(tape.TILED if tile else tape.SYNAPSE, target, source, FORM=-1, NARROW=narrow)
    found = (half_reach if narrow == tape.HALVES else reach)(weight, bias, down, along, tile)
    receive(writer, line, found, shape)
    if tile:
        _divide(writer, line, source, found, axes)
    elif fits_registers() and narrow == tape.WIDE and _one_place(axes) and found.run_index[-1] and found.line_index[-1]:
        _switch(writer, line, found)
    return target


def _pays_in_pairs(weight: Array, along: Axis) -> bool:
    """Whether two neighbouring places are summed as one: where they are few numbers, which reach much the same outputs.

    Then these are read and written once for both. A run of both is longer by one place, which shall be at most a quarter.
    """
    outputs, inputs, _, kernel = weight.shape
    one, both = (-(-outputs * places // LANES) for places in (kernel, kernel + 1))
    plain = along.stride == along.dilation == 1 and along.inputs % 2 == 0
    return plain and kernel > 1 and inputs < FEW_CHANNELS and 4 * both <= 5 * one


def _switch(writer: Writer, line: Line, found: Reach) -> None:
    """Have the line be summed densely where many inputs are active: what `synfire.engines.cpu.dense_kernels` needs besides."""
    vectors = int(found.runs[0][2])
    crossings = CROSSINGS[line.numbers[tape.FORMAT] == SPIKES]
    enter, leave = crossings[min(vectors, max(crossings))]
    line.numbers |= {tape.BLOCK: INPUTS, tape.ENTER: enter, tape.LEAVE: leave}
    writer.room(TOGETHER * max(LANES * vectors, INPUTS) + LANES, TOGETHER * line.numbers[tape.CHANNELS])


def narrow_synapse(
    writer: Writer, x: Value, narrowed: tuple[Reach, Array, Array], shape: tuple[int, int, int], output: Signal
) -> Value:
    """A line that sums weights of one byte; `shape` is the input's (height, width, channel)."""
    found, scale, bias = narrowed
    target = writer.value(output, x.layout, FLOATS, x.still)
    line = writer.line(tape.SYNAPSE, target, x, FORM=-1, NARROW=tape.BYTES)
    receive(writer, line, found, shape)
    line.arrays |= {tape.SCALE: scale, tape.BIAS: bias}
    return target


def _tile(weight: Array, axes: tuple[Axis, Axis]) -> int:
    """How many outputs a tile has, 0 for one tile of all.

    Long runs of weights are read fastest where they are read once, and small tiles where they are read again; these sizes
    were the best of those tried on the nets of `synfire bench cifar`.
    """
    outputs = len(weight)
    size = 128 if _one_place(axes) else 64
    return size if weight.nbytes >= TILED_BYTES and outputs >= 2 * size and outputs % size == 0 else 0


def _one_place(axes: tuple[Axis, Axis]) -> bool:
    return all(axis.inputs == axis.outputs == 1 for axis in axes)


def _divide(writer: Writer, line: Line, source: Value, found: Reach, axes: tuple[Axis, Axis]) -> None:
    """What `synfire.engines.cpu.tiled_kernels.sum_tile` needs besides."""
    entries, values, _ = list_places(source)
    tile = found.row // axes[1].outputs
    tile_bytes = found.weight[0].nbytes
    line.numbers |= {
        tape.ENTRIES: entries, tape.VALUES: values, tape.ROW: found.row * found.tiles, tape.TILE: tile,
        tape.TILES: found.tiles, tape.TILE_BYTES: tile_bytes,
        tape.BLOCK: max(1, BLOCK_BYTES // found.across) if _one_place(axes) else 0,
    }  # fmt: skip
    writer.room(FRAMES * found.pitch, 4 * FRAMES)


def receive(writer: Writer, line: Line, found: Reach, shape: tuple[int, int, int]) -> None:
    """What `synfire.engines.cpu.synapse_kernels.receive` needs."""
    height, width, channels = shape
    line.numbers |= {
        tape.HEIGHT: height, tape.WIDTH: width, tape.CHANNELS: channels, tape.ROWS: found.rows, tape.ROW: found.row,
        tape.PITCH: found.pitch, tape.ACROSS: found.across,
    }  # fmt: skip
    line.arrays |= {
        tape.START: found.start, tape.WEIGHT: found.weight, tape.LINE_INDEX: found.line_index,
        tape.LINES: found.lines, tape.RUN_INDEX: found.run_index, tape.RUNS: found.runs,
        tape.BEGUN: found.begun, tape.DONE: found.done,
    }  # fmt: skip
    writer.room(found.rows * found.pitch + LANES, width * channels)


@lines_for(MaxPool1d, MaxPool2d, SumPool2d, AvgPool1d, AvgPool2d)
def pool(writer: Writer, operator: Pool, inputs: Sequence[Value], output: Signal) -> Value:
    """Windows over an image; a sequence is one of a single row."""
    x = writer.laid(inputs[0], LAST)
    height, width = (1, *x.signal.shape[1:])[-2:]
    reduce, most, form = tape.MAXIMUM, x.most, x.format
    if not isinstance(operator, (MaxPool1d, MaxPool2d)):
        reduce = tape.TOTAL if isinstance(operator, SumPool2d) else tape.MEAN
        if x.signal.kind is not Kind.VALUE:
            most = whole(x, math.prod(operator.kernel))
            if x.format != FLOATS and most > 255:
                raise Refusal
            form = FLOATS if x.format == FLOATS else COUNTS
    if reduce == tape.MEAN:
        most, form = None, FLOATS
    target = writer.value(output, LAST, form, x.still, most)
    down, along = (Window(1, 1, 0, 0), *operator.windows())[-2:]
    step = x.channels * x.item_bytes
    line = writer.line(
        tape.POOL, target, x, CHANNELS=x.channels, ROWS=down.outputs(height), SIZE=along.outputs(width), REDUCE=reduce,
        LINE_INDEX=down.dilation * width * step, RUN_INDEX=along.dilation * step,
    )  # fmt: skip
    line.arrays |= {tape.LINES: _windows(down, height, width * step), tape.RUNS: _windows(along, width, step)}
    if isinstance(operator, (AvgPool1d, AvgPool2d)):
        line.arrays[tape.DIVISORS] = operator.counts(x.signal.shape[1:]).astype(np.int64)
    return target


def _windows(window: Window, size: int, step: int) -> Array:
    """(byte offset of the first element, how many) for each window along an axis."""
    found = []
    for k in range(window.outputs(size)):
        at = [k * window.stride - window.before + tap * window.dilation for tap in range(window.kernel)]
        inside = [place for place in at if 0 <= place < size]
        found.append((inside[0] * step, len(inside)))
    return np.array(found, np.int64)


@lines_for(Add)
def add(writer: Writer, operator: Add, inputs: Sequence[Value], output: Signal) -> Value:
    if any(each.signal.shape != output.shape for each in inputs):
        raise Refusal
    total, *others = writer.alike(*inputs)
    for other in others:
        most, form = None, FLOATS
        if total.signal.kind is not Kind.VALUE and other.signal.kind is not Kind.VALUE and output.kind is Kind.COUNT:
            most = whole(total) + whole(other)
            if most >= EXACT:
                raise Refusal
            form = FLOATS if FLOATS in (total.format, other.format) else narrow(most)
        target = writer.value(output, total.layout, form, total.still and other.still, most)
        writer.line(tape.ADD, target, total, other, SIZE=output.size)
        total = target
    return total


@lines_for(Multiply)
def multiply(writer: Writer, operator: Multiply, inputs: Sequence[Value], output: Signal) -> Value:
    """Of two layers of spikes; one of them may be a mask, the same at every place."""
    if any(each.format != SPIKES for each in inputs) or len(inputs) != 2 or len(output.shape) < 2:
        raise Refusal
    x, mask = sorted(inputs, key=lambda each: -each.signal.size)
    alike = mask.signal.shape == output.shape
    if x.signal.shape != output.shape or not (
        alike or mask.signal.shape == (output.shape[0], *(1,) * (len(output.shape) - 1))
    ):
        raise Refusal
    x, mask = writer.laid(x, LAST), writer.laid(mask, LAST)
    target = writer.value(output, LAST, SPIKES, x.still and mask.still, 1)
    writer.line(tape.AND, target, x, mask, HEIGHT=x.places, CHANNELS=x.channels, WIDTH=x.channels if alike else 0)
    return target


@lines_for(Slice)
def part(writer: Writer, operator: Slice, inputs: Sequence[Value], output: Signal) -> Value:
    if operator.axis not in (0, -len(output.shape)):
        raise Refusal
    x = writer.laid(inputs[0], LAST)
    target = writer.value(output, LAST, x.format, x.still, x.most)
    sizes = {"HEIGHT": x.places, "WIDTH": x.channels, "CHANNELS": target.channels, "START": operator.start}
    item = x.item_bytes
    writer.line(tape.SLICE, target, x, **{k: v if k == "HEIGHT" else v * item for k, v in sizes.items()})
    return target


@lines_for(GlobalAvgPool)
@lines_for(AdaptiveAvgPool2d, small=True)
def mean_of_places(
    writer: Writer, operator: GlobalAvgPool | AdaptiveAvgPool2d, inputs: Sequence[Value], output: Signal
) -> Value:
    if isinstance(operator, AdaptiveAvgPool2d) and operator.size != (1, 1):
        return _spread(writer, writer.laid(inputs[0], FIRST), output)
    return _total(writer, writer.laid(inputs[0], LAST), tape.MEAN, output)


def _spread(writer: Writer, x: Value, output: Signal) -> Value:
    """A single place that becomes several: each is the mean of that one, so spikes stay what they are."""
    if x.signal.shape[1:] != (1, 1):
        raise Refusal
    target = writer.value(output, FIRST, x.format, x.still, x.most)
    writer.line(tape.SPREAD, target, x, SIZE=x.signal.size, WIDTH=output.size // x.signal.size)
    return target


@lines_for(TokenSum, TokenMean)
def tokens(writer: Writer, operator: TokenSum | TokenMean, inputs: Sequence[Value], output: Signal) -> Value:
    (x,) = inputs
    if len(x.signal.shape) != 2:
        raise Refusal
    x = writer.laid(x, LAST if operator.axis in (1, -1) else FIRST)
    return _total(writer, x, tape.TOTAL if isinstance(operator, TokenSum) else tape.MEAN, output)


def _total(writer: Writer, x: Value, reduce: int, output: Signal) -> Value:
    """The sum or mean over all places of a value."""
    most = whole(x, x.places) if x.signal.kind is not Kind.VALUE else None
    target = writer.value(output, LAST, FLOATS, x.still, most if reduce == tape.TOTAL else None)
    writer.line(tape.SUM, target, x, HEIGHT=x.places, CHANNELS=x.channels, REDUCE=reduce)
    return target


@lines_for(SelfAttention)
def attention(writer: Writer, operator: SelfAttention, inputs: Sequence[Value], output: Signal) -> Value:
    if any(each.format != SPIKES for each in inputs):
        raise Refusal
    layout = LAST if operator.layout == CHANNELS_FIRST else FIRST
    q, k, v = (writer.laid(each, layout) for each in inputs)
    size = q.channels // operator.heads
    whole(q, q.places * size)
    target = writer.value(output, layout, FLOATS, all(each.still for each in inputs))
    line = writer.line(tape.ATTEND, target, q, k, v, HEIGHT=q.places, CHANNELS=q.channels, WIDTH=size)
    line.arrays[tape.RATE] = np.array([operator.scale], np.float32)
    writer.room(size * size)
    return target


@lines_for(MeanRate)
def mean_rate(writer: Writer, operator: MeanRate, inputs: Sequence[Value], output: Signal) -> Value:
    x = writer.laid(inputs[0], FIRST)
    target = writer.value(output, FIRST, FLOATS, False)
    line = writer.line(tape.READ, target, x, SIZE=output.size)
    line.memories = [
        Memory(tape.STATE, np.zeros(output.shape, np.float32), "sum"),
        Memory(tape.STATE_2, np.zeros((), np.int64), "steps"),
    ]
    writer.room(output.size)
    return target
