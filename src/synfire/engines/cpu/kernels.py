"""Compiled kernels, channels last, in the canonical summation order.

Every sum starts from the bias and adds the weight rows of the active inputs in ascending input index, one rounding per
product and one per addition. Eight rows are added in one pass over the accumulator, left to right, which is the same
order with fewer loads and stores. Skipping a zero input and adding its zero product give the same bits.
"""

from __future__ import annotations

import os

from synfire.base import paths

os.environ.setdefault("NUMBA_CACHE_DIR", str(paths.cache() / "numba"))

import numba
import numpy as np

from synfire.ops import Array

_compile = numba.njit(nogil=True, cache=True, fastmath=False, error_model="numpy", boundscheck=False)
_inline = numba.njit(inline="always", fastmath=False, error_model="numpy")


@_inline
def _add_rows(total, weight, rows, count):  # type: ignore[no-untyped-def]
    size = total.size
    j = 0
    while j + 8 <= count:
        r0, r1, r2, r3 = weight[rows[j]], weight[rows[j + 1]], weight[rows[j + 2]], weight[rows[j + 3]]
        r4, r5, r6, r7 = weight[rows[j + 4]], weight[rows[j + 5]], weight[rows[j + 6]], weight[rows[j + 7]]
        for o in range(size):
            total[o] = (((((((total[o] + r0[o]) + r1[o]) + r2[o]) + r3[o]) + r4[o]) + r5[o]) + r6[o]) + r7[o]
        j += 8
    while j < count:
        row = weight[rows[j]]
        for o in range(size):
            total[o] += row[o]
        j += 1


@_inline
def _add_scaled_rows(total, weight, rows, values, count):  # type: ignore[no-untyped-def]
    size = total.size
    j = 0
    while j + 4 <= count:
        r0, r1, r2, r3 = weight[rows[j]], weight[rows[j + 1]], weight[rows[j + 2]], weight[rows[j + 3]]
        x0, x1, x2, x3 = values[j], values[j + 1], values[j + 2], values[j + 3]
        for o in range(size):
            total[o] = (((total[o] + x0 * r0[o]) + x1 * r1[o]) + x2 * r2[o]) + x3 * r3[o]
        j += 4
    while j < count:
        row, x = weight[rows[j]], values[j]
        for o in range(size):
            total[o] += x * row[o]
        j += 1


@_compile
def linear_spikes(x: Array, weight: Array, bias: Array, out: Array) -> None:
    """out[n] = bias + Σ weight[i] over the spikes x[n, i]; `weight` is `(input, output)`."""
    rows = np.empty(x.shape[1], np.int64)
    for n in range(x.shape[0]):
        count = 0
        for i in range(x.shape[1]):
            rows[count] = i
            count += np.int64(x[n, i] != 0)
        total = out[n]
        total[:] = bias
        _add_rows(total, weight, rows, count)


@_compile
def linear_values(x: Array, weight: Array, bias: Array, out: Array) -> None:
    """out[n] = bias + Σ x[n, i] · weight[i] over the non-zero x[n, i]."""
    rows, values = np.empty(x.shape[1], np.int64), np.empty(x.shape[1], np.float32)
    for n in range(x.shape[0]):
        count = 0
        for i in range(x.shape[1]):
            if x[n, i] != 0:
                rows[count], values[count] = i, x[n, i]
                count += 1
        total = out[n]
        total[:] = bias
        _add_scaled_rows(total, weight, rows, values, count)


@_compile
def conv2d_spikes(x: Array, weight: Array, bias: Array, geometry: Array, out: Array) -> None:
    """Convolution of spikes `(n, height, width, channel)`; `weight` is `(row, column, channel, output)`.

    `geometry` is (stride y, stride x, top, left, dilation y, dilation x).
    """
    number, height, width, channels = x.shape
    kernel_h, kernel_w, _, outputs = weight.shape
    flat = weight.reshape(kernel_h * kernel_w * channels, outputs)
    active = np.empty((height, width, channels), np.int32)
    counts = np.empty((height, width), np.int64)
    rows = np.empty(kernel_h * kernel_w * channels, np.int64)
    for n in range(number):
        for iy in range(height):
            for ix in range(width):
                count = 0
                for c in range(channels):
                    active[iy, ix, count] = c
                    count += np.int64(x[n, iy, ix, c] != 0)
                    if count == channels:
                        break
                counts[iy, ix] = count
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                count = 0
                for r in range(kernel_h):
                    iy = oy * geometry[0] - geometry[2] + r * geometry[4]
                    if iy < 0 or iy >= height:
                        continue
                    for c in range(kernel_w):
                        ix = ox * geometry[1] - geometry[3] + c * geometry[5]
                        if ix < 0 or ix >= width:
                            continue
                        base = (r * kernel_w + c) * channels
                        for j in range(counts[iy, ix]):
                            rows[count] = base + active[iy, ix, j]
                            count += 1
                total = out[n, oy, ox]
                total[:] = bias
                _add_rows(total, flat, rows, count)


@_compile
def conv2d_values(x: Array, weight: Array, bias: Array, geometry: Array, out: Array) -> None:
    """Convolution of float32 values, zeros skipped; shapes as in `conv2d_spikes`."""
    number, height, width, channels = x.shape
    kernel_h, kernel_w, _, outputs = weight.shape
    flat = weight.reshape(kernel_h * kernel_w * channels, outputs)
    rows = np.empty(kernel_h * kernel_w * channels, np.int64)
    values = np.empty(kernel_h * kernel_w * channels, np.float32)
    for n in range(number):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                count = 0
                for r in range(kernel_h):
                    iy = oy * geometry[0] - geometry[2] + r * geometry[4]
                    if iy < 0 or iy >= height:
                        continue
                    for c in range(kernel_w):
                        ix = ox * geometry[1] - geometry[3] + c * geometry[5]
                        if ix < 0 or ix >= width:
                            continue
                        base = (r * kernel_w + c) * channels
                        for i in range(channels):
                            value = x[n, iy, ix, i]
                            if value != 0:
                                rows[count], values[count] = base + i, value
                                count += 1
                total = out[n, oy, ox]
                total[:] = bias
                _add_scaled_rows(total, flat, rows, values, count)


@_compile
def max_pool2d(x: Array, kernel: Array, stride: Array, padding: Array, out: Array) -> None:
    """Maximum over windows of `(n, height, width, channel)` spikes: OR. `padding` is (top, left)."""
    number, height, width, channels = x.shape
    for n in range(number):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                total = out[n, oy, ox]
                total[:] = 0
                for iy in range(
                    max(0, oy * stride[0] - padding[0]), min(height, oy * stride[0] - padding[0] + kernel[0])
                ):
                    for ix in range(
                        max(0, ox * stride[1] - padding[1]), min(width, ox * stride[1] - padding[1] + kernel[1])
                    ):
                        row = x[n, iy, ix]
                        for c in range(channels):
                            total[c] |= row[c]


@_compile
def lif(
    x: Array, v: Array, tau: Array, threshold: Array, v_reset: Array, decay: bool, hard: bool, strict: bool, out: Array
) -> None:
    """All steps of a leaky integrate-and-fire layer; `x` is `(steps or 1, batch, neuron)`, `v` `(batch, neuron)` is changed.

    Parameters are `(1,)` or `(neuron,)`. The equations are those of `synfire.ops.lif.LIF`.
    """
    steps, batch, neurons = out.shape
    one = np.float32(1)
    scalar = tau.size == 1 and threshold.size == 1 and v_reset.size == 1
    for b in range(batch):
        membrane = v[b]
        for t in range(steps):
            current, spikes = x[min(t, x.shape[0] - 1), b], out[t, b]
            if scalar:
                k, th, vr = tau[0], threshold[0], v_reset[0]
                keep = one - one / k
                if decay and hard:
                    for m in range(neurons):
                        membrane[m] = membrane[m] + (current[m] - (membrane[m] - vr)) / k
                elif decay:
                    for m in range(neurons):
                        membrane[m] = membrane[m] + (current[m] - membrane[m]) / k
                elif hard:
                    for m in range(neurons):
                        membrane[m] = membrane[m] - (membrane[m] - vr) / k + current[m]
                else:
                    for m in range(neurons):
                        membrane[m] = membrane[m] * keep + current[m]
                for m in range(neurons):
                    h = membrane[m]
                    fired = h > th if strict else h >= th
                    spikes[m] = np.uint8(fired)
                    membrane[m] = (vr if hard else h - th) if fired else h
            else:
                for m in range(neurons):
                    k = tau[m % tau.size]
                    th, vr, h = threshold[m % threshold.size], v_reset[m % v_reset.size], membrane[m]
                    if decay and hard:
                        h = h + (current[m] - (h - vr)) / k
                    elif decay:
                        h = h + (current[m] - h) / k
                    elif hard:
                        h = h - (h - vr) / k + current[m]
                    else:
                        h = h * (one - one / k) + current[m]
                    fired = h > th if strict else h >= th
                    spikes[m] = np.uint8(fired)
                    membrane[m] = (vr if hard else h - th) if fired else h


@_compile
def integrate_and_fire(
    x: Array, v: Array, threshold: Array, v_reset: Array, hard: bool, strict: bool, out: Array
) -> None:
    """All steps of an integrate-and-fire layer; shapes as in `lif`, equations as in `synfire.ops` IF."""
    steps, batch, neurons = out.shape
    for b in range(batch):
        membrane = v[b]
        for t in range(steps):
            current, spikes = x[min(t, x.shape[0] - 1), b], out[t, b]
            for m in range(neurons):
                th, vr = threshold[m % threshold.size], v_reset[m % v_reset.size]
                h = membrane[m] + current[m]
                fired = h > th if strict else h >= th
                spikes[m] = np.uint8(fired)
                membrane[m] = (vr if hard else h - th) if fired else h
