"""Compiled kernels, channels last, in the canonical summation order.

Every sum starts from the bias and adds the weight rows of the active inputs in ascending input index, one rounding per
product and one per addition. Skipping a zero input and adding its zero product give the same bits.
"""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import compiled, inlined
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


@inlined
def _after_spike(h, fired, threshold, v_reset, hard):  # type: ignore[no-untyped-def]
    return (v_reset if hard else h - threshold) if fired else h


@compiled
def fire(charged: Array, threshold: Array, v_reset: Array, hard: bool, strict: bool, spikes: Array) -> None:
    """Spikes and reset of one step: `charged` `(neuron,)` is H before and V after; parameters are all `(1,)`, or all `(neuron,)`."""
    if threshold.size == 1:
        th, vr = threshold[0], v_reset[0]
        for m in range(charged.size):
            h = charged[m]
            fired = h > th if strict else h >= th
            spikes[m] = fired
            charged[m] = _after_spike(h, fired, th, vr, hard)
        return
    for m in range(charged.size):
        h, th, vr = charged[m], threshold[m], v_reset[m]
        fired = h > th if strict else h >= th
        spikes[m] = fired
        charged[m] = _after_spike(h, fired, th, vr, hard)


@compiled
def lif(
    x: Array, v: Array, threshold: Array, v_reset: Array, hard: bool, strict: bool, tau: Array, decay: bool, out: Array
) -> None:
    """All steps of `synfire.ops.lif.LIF`; `x` is `(steps or 1, batch, neuron)`, `v` `(batch, neuron)` is changed.

    Parameters are all `(1,)`, or all `(neuron,)`.
    """
    one = np.float32(1)
    for b in range(out.shape[1]):
        charged = v[b]
        for t in range(out.shape[0]):
            current = x[min(t, x.shape[0] - 1), b]
            if tau.size == 1:
                k, vr = tau[0], v_reset[0]
                keep = one - one / k
                if decay and hard:
                    for m in range(charged.size):
                        charged[m] = charged[m] + (current[m] - (charged[m] - vr)) / k
                elif decay:
                    for m in range(charged.size):
                        charged[m] = charged[m] + (current[m] - charged[m]) / k
                elif hard:
                    for m in range(charged.size):
                        charged[m] = charged[m] - (charged[m] - vr) / k + current[m]
                else:
                    for m in range(charged.size):
                        charged[m] = charged[m] * keep + current[m]
            else:
                for m in range(charged.size):
                    h, k, vr = charged[m], tau[m], v_reset[m]
                    if decay:
                        charged[m] = h + (current[m] - (h - vr if hard else h)) / k
                    else:
                        charged[m] = h - (h - vr) / k + current[m] if hard else h * (one - one / k) + current[m]
            fire(charged, threshold, v_reset, hard, strict, out[t, b])


@compiled
def parametric_lif(
    x: Array, v: Array, threshold: Array, v_reset: Array, hard: bool, strict: bool, rate: Array, decay: bool, out: Array
) -> None:
    """All steps of `synfire.ops.parametric_lif.ParametricLIF`; shapes as in `lif`."""
    for b in range(out.shape[1]):
        charged = v[b]
        for t in range(out.shape[0]):
            current = x[min(t, x.shape[0] - 1), b]
            if rate.size == 1:
                q, rest = rate[0], v_reset[0] if hard else np.float32(0)
                if decay:
                    for m in range(charged.size):
                        charged[m] = charged[m] + (current[m] - (charged[m] - rest)) * q
                else:
                    for m in range(charged.size):
                        charged[m] = charged[m] - (charged[m] - rest) * q + current[m]
            else:
                for m in range(charged.size):
                    h, q, rest = charged[m], rate[m], v_reset[m] if hard else np.float32(0)
                    charged[m] = h + (current[m] - (h - rest)) * q if decay else h - (h - rest) * q + current[m]
            fire(charged, threshold, v_reset, hard, strict, out[t, b])


@compiled
def integrate_and_fire(
    x: Array, v: Array, threshold: Array, v_reset: Array, hard: bool, strict: bool, out: Array
) -> None:
    """All steps of `synfire.ops.if_neuron.IF`; shapes as in `lif`."""
    for b in range(out.shape[1]):
        charged = v[b]
        for t in range(out.shape[0]):
            current = x[min(t, x.shape[0] - 1), b]
            for m in range(charged.size):
                charged[m] = charged[m] + current[m]
            fire(charged, threshold, v_reset, hard, strict, out[t, b])


@compiled
def alif(
    x: Array, u: Array, b: Array, s: Array, alpha: Array, rho: Array, b0: Array, beta: Array, strict: bool, out: Array
) -> None:
    """All steps of `synfire.ops.alif.ALIF`; `u`, `b` and `s` `(batch, neuron)` are changed, parameters are `(neuron,)`."""
    one = np.float32(1)
    for n in range(out.shape[1]):
        membrane, adaptation, before = u[n], b[n], s[n]
        for t in range(out.shape[0]):
            current, spikes = x[min(t, x.shape[0] - 1), n], out[t, n]
            for m in range(membrane.size):
                spike = np.float32(before[m])
                adaptation[m] = rho[m] * adaptation[m] + (one - rho[m]) * spike
                threshold = b0[m] + beta[m] * adaptation[m]
                h = alpha[m] * membrane[m] + (one - alpha[m]) * current[m] - threshold * spike
                membrane[m] = h
                spikes[m] = h > threshold if strict else h >= threshold
            for m in range(membrane.size):
                before[m] = spikes[m]


@compiled
def lif_loop(
    x: Array,
    fed_back: Array,
    weight: Array,
    bias: Array,
    v: Array,
    threshold: Array,
    v_reset: Array,
    hard: bool,
    strict: bool,
    tau: Array,
    decay: bool,
    out: Array,
) -> None:
    """All steps of LIF neurons whose spikes return through a linear synapse one step later.

    `x` is `(steps, batch, neuron)`; `fed_back` `(batch, neuron)`, what returns at the next step, is changed. `weight` and
    `bias` are as in `linear`, the rest as in `lif`.
    """
    current = np.empty((1, 1, out.shape[2]), np.float32)
    for b in range(out.shape[1]):
        for t in range(out.shape[0]):
            for m in range(out.shape[2]):
                current[0, 0, m] = x[t, b, m] + fed_back[b, m]
            spikes = out[t : t + 1, b : b + 1]
            lif(current, v[b : b + 1], threshold, v_reset, hard, strict, tau, decay, spikes)
            linear(spikes[0], weight, bias, False, fed_back[b : b + 1])


@compiled
def parametric_lif_loop(
    x: Array,
    fed_back: Array,
    weight: Array,
    bias: Array,
    v: Array,
    threshold: Array,
    v_reset: Array,
    hard: bool,
    strict: bool,
    rate: Array,
    decay: bool,
    out: Array,
) -> None:
    """`parametric_lif` with the loop of `lif_loop`."""
    current = np.empty((1, 1, out.shape[2]), np.float32)
    for b in range(out.shape[1]):
        for t in range(out.shape[0]):
            for m in range(out.shape[2]):
                current[0, 0, m] = x[t, b, m] + fed_back[b, m]
            spikes = out[t : t + 1, b : b + 1]
            parametric_lif(current, v[b : b + 1], threshold, v_reset, hard, strict, rate, decay, spikes)
            linear(spikes[0], weight, bias, False, fed_back[b : b + 1])


@compiled
def alif_loop(
    x: Array,
    fed_back: Array,
    weight: Array,
    bias: Array,
    u: Array,
    b: Array,
    s: Array,
    alpha: Array,
    rho: Array,
    b0: Array,
    beta: Array,
    strict: bool,
    out: Array,
) -> None:
    """`alif` with the loop of `lif_loop`."""
    current = np.empty((1, 1, out.shape[2]), np.float32)
    for n in range(out.shape[1]):
        for t in range(out.shape[0]):
            for m in range(out.shape[2]):
                current[0, 0, m] = x[t, n, m] + fed_back[n, m]
            spikes = out[t : t + 1, n : n + 1]
            alif(current, u[n : n + 1], b[n : n + 1], s[n : n + 1], alpha, rho, b0, beta, strict, spikes)
            linear(spikes[0], weight, bias, False, fed_back[n : n + 1])
