"""Compiled kernels of synapses and of pooling, channels last, in the canonical summation order.

Every sum starts from the bias and adds the weight rows of the active inputs in ascending input index, one rounding per
product and one per addition. Skipping a zero input and adding its zero product give the same bits.
"""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import compiled
from synfire.engines.cpu.rows import sum_rows, sum_scaled_rows
from synfire.ops import Array


@compiled
def linear(x: Array, weight: Array, bias: Array, scaled: bool, out: Array) -> None:
    """out[n] = bias + Σ x[n, i] · weight[i] over the non-zero x[n, i]; unscaled: over the spikes x[n, i].

    `weight` is `(input, output)`, `bias` `(output,)`, outputs padded to whole vectors.
    """
    inputs, width = x.shape[1], weight.shape[1]
    flat, padded = weight.reshape(-1), np.empty(width, np.float32)
    rows, values = np.empty(inputs + 1, np.int32), np.empty(inputs + 1, np.float32)
    runs = np.zeros(3, np.int64)
    for n in range(x.shape[0]):
        count = 0
        for i in range(inputs):
            rows[count] = i * width
            values[count] = x[n, i]
            count += np.int64(x[n, i] != 0)
        runs[1] = count
        if scaled:
            sum_scaled_rows(bias, flat, rows, values, runs, 1, width, padded, 0)
        else:
            sum_rows(bias, flat, rows, runs, 1, width, padded, 0)
        total = out[n]
        for o in range(out.shape[1]):
            total[o] = padded[o]


@compiled
def conv2d(x: Array, weight: Array, bias: Array, geometry: Array, scaled: bool, size: Array, out: Array) -> None:
    """Convolution of `(n, height, width, channel)`; `weight` is `(row, column, channel, output)`, outputs padded.

    `geometry` is (stride y, stride x, top, left, dilation y, dilation x), `size` (output height, width, channels). `out` is
    flat, with room for one padded pixel behind the last: each pixel is written in whole vectors, and what these write
    beyond it is the next pixel's to overwrite. The active inputs of an image are listed once, in order; a kernel row
    over neighbouring pixels is then one run of that list.
    """
    number, height, width, channels = x.shape
    kernel_h, kernel_w, _, lanes = weight.shape
    flat, across, pixel = weight.reshape(-1), geometry[5], channels * lanes
    rows, values = (
        np.empty(height * width * channels + 1, np.int32),
        np.empty(height * width * channels + 1, np.float32),
    )
    first = np.empty((height, width + 1), np.int64)
    runs = np.empty(kernel_h * kernel_w * 3, np.int64)
    lefts = np.arange(size[1]) * geometry[1] - geometry[3]
    starts, ends = np.clip(lefts, 0, width), np.clip(lefts + kernel_w, 0, width)
    at = 0
    for n in range(number):
        count = 0
        for iy in range(height):
            for ix in range(width):
                first[iy, ix] = count
                for c in range(channels):
                    value = x[n, iy, ix, c]
                    rows[count] = (ix * channels + c) * lanes
                    values[count] = value
                    count += np.int64(value != 0)
            first[iy, width] = count
        for oy in range(size[0]):
            top = oy * geometry[0] - geometry[2]
            for ox in range(size[1]):
                found, left, start, end = 0, lefts[ox], starts[ox], ends[ox]
                for r in range(kernel_h):
                    iy = top + r * geometry[4]
                    if iy < 0 or iy >= height:
                        continue
                    base = (r * kernel_w - left) * pixel
                    if across == 1:
                        begin, stop = first[iy, start], first[iy, end]
                        runs[found * 3], runs[found * 3 + 1], runs[found * 3 + 2] = begin, stop, base
                        found += stop > begin
                        continue
                    for c in range(kernel_w):
                        ix = left + c * across
                        if 0 <= ix < width:
                            runs[found * 3], runs[found * 3 + 1] = first[iy, ix], first[iy, ix + 1]
                            runs[found * 3 + 2] = base + (c - c * across) * pixel
                            found += 1
                if scaled:
                    sum_scaled_rows(bias, flat, rows, values, runs, found, lanes, out, at)
                else:
                    sum_rows(bias, flat, rows, runs, found, lanes, out, at)
                at += size[2]


@compiled
def max_pool2d(x: Array, geometry: Array, out: Array) -> None:
    """Maximum over windows of `(n, height, width, channel)`; what lies outside the image never wins.

    `geometry` is (kernel y, kernel x, stride y, stride x, top, left, dilation y, dilation x).
    """
    for n in range(x.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                top, fresh = out[n, oy, ox], True
                for r in range(geometry[0]):
                    iy = oy * geometry[2] - geometry[4] + r * geometry[6]
                    for c in range(geometry[1]):
                        ix = ox * geometry[3] - geometry[5] + c * geometry[7]
                        if iy < 0 or ix < 0 or iy >= x.shape[1] or ix >= x.shape[2]:
                            continue
                        here = x[n, iy, ix]
                        for i in range(here.size):
                            top[i] = here[i] if fresh or here[i] > top[i] else top[i]
                        fresh = False


@compiled
def sum_pool2d(x: Array, geometry: Array, out: Array) -> None:
    """Sum over windows of `(n, height, width, channel)` in ascending place, in the dtype of `out`; see `max_pool2d`."""
    for n in range(x.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                total = out[n, oy, ox]
                total[:] = 0
                for r in range(geometry[0]):
                    iy = oy * geometry[2] - geometry[4] + r * geometry[6]
                    for c in range(geometry[1]):
                        ix = ox * geometry[3] - geometry[5] + c * geometry[7]
                        if iy < 0 or ix < 0 or iy >= x.shape[1] or ix >= x.shape[2]:
                            continue
                        here = x[n, iy, ix]
                        for i in range(here.size):
                            total[i] += here[i]


@compiled
def avg_pool2d(x: Array, geometry: Array, counts: Array, out: Array) -> None:
    """`sum_pool2d` into float32, each sum divided by its window's `counts` `(height, width)`."""
    sum_pool2d(x, geometry, out)
    for n in range(out.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                total, count = out[n, oy, ox], counts[oy, ox]
                for i in range(total.size):
                    total[i] /= count
