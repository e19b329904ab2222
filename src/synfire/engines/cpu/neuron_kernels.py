"""Compiled kernels of neurons: one time step of one sample's layer, from its current to its spikes.

How a membrane is charged, with `x` the current, `k` and `q` the rate, `rest` what it relaxes to::

    IF             h = v + x
    DECAY_DIVIDE   h = v + (x − (v − rest)) / k
    DECAY          h = v + (x − (v − rest)) · q
    LEAK_DIVIDE    h = v − (v − rest) / k + x
    LEAK           h = v − (v − rest) · q + x
    KEEP           h = v · q + x

Dividing by a power of two and multiplying by its inverse are the same bits, and so is v − 0 as v. That is why the many
neurons need no more than these. "h > threshold" is "h ≥ the next float32", which is why `fires_at` is all that tells strict ones.
"""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import inlined
from synfire.engines.cpu.tape import (
    BASE,
    DECAY,
    DECAY_DIVIDE,
    EACH,
    FIRES_AT,
    FORM,
    HARD,
    IF,
    KEEP,
    LEAK,
    LEAK_DIVIDE,
    RATE,
    RESTS_AT,
    SLOPE,
    THRESHOLD,
    kernel,
)
from synfire.engines.cpu.vectors import floats, octets


@inlined
def _left(h, fired, threshold, v_reset, hard):  # type: ignore[no-untyped-def]
    return (v_reset if hard else h - threshold) if fired else h


@kernel
def _alike(op, x, v, spikes):  # type: ignore[no-untyped-def]
    """Neurons that share their parameters."""
    form, hard = op[FORM], op[HARD] != 0
    at, threshold = floats(op[FIRES_AT], 1)[0], floats(op[THRESHOLD], 1)[0]
    reset, rate = floats(op[RESTS_AT], 1)[0], floats(op[RATE], 1)[0]
    rest = reset if hard else np.float32(0)
    if form == IF:
        for m in range(x.size):
            h = v[m] + x[m]
            fired = h >= at
            spikes[m] = fired
            v[m] = _left(h, fired, threshold, reset, hard)
    elif form == DECAY:
        for m in range(x.size):
            h = v[m] + (x[m] - (v[m] - rest)) * rate
            fired = h >= at
            spikes[m] = fired
            v[m] = _left(h, fired, threshold, reset, hard)
    elif form == DECAY_DIVIDE:
        for m in range(x.size):
            h = v[m] + (x[m] - (v[m] - rest)) / rate
            fired = h >= at
            spikes[m] = fired
            v[m] = _left(h, fired, threshold, reset, hard)
    elif form == LEAK:
        for m in range(x.size):
            h = v[m] - (v[m] - rest) * rate + x[m]
            fired = h >= at
            spikes[m] = fired
            v[m] = _left(h, fired, threshold, reset, hard)
    elif form == LEAK_DIVIDE:
        for m in range(x.size):
            h = v[m] - (v[m] - rest) / rate + x[m]
            fired = h >= at
            spikes[m] = fired
            v[m] = _left(h, fired, threshold, reset, hard)
    elif form == KEEP:
        for m in range(x.size):
            h = v[m] * rate + x[m]
            fired = h >= at
            spikes[m] = fired
            v[m] = _left(h, fired, threshold, reset, hard)


@kernel
def _unlike(op, first, x, v, spikes):  # type: ignore[no-untyped-def]
    """Neurons with parameters of their own, the first of them the layer's `first`."""
    form, hard, start = op[FORM], op[HARD] != 0, first * 4
    at, threshold = floats(op[FIRES_AT] + start, x.size), floats(op[THRESHOLD] + start, x.size)
    reset, rate = floats(op[RESTS_AT] + start, x.size), floats(op[RATE] + start, x.size)
    for m in range(x.size):
        h, k, rest = v[m], rate[m], reset[m] if hard else np.float32(0)
        if form == IF:
            h = h + x[m]
        elif form == DECAY:
            h = h + (x[m] - (h - rest)) * k
        elif form == DECAY_DIVIDE:
            h = h + (x[m] - (h - rest)) / k
        elif form == LEAK:
            h = h - (h - rest) * k + x[m]
        elif form == LEAK_DIVIDE:
            h = h - (h - rest) / k + x[m]
        elif form == KEEP:
            h = h * k + x[m]
        fired = h >= at[m]
        spikes[m] = fired
        v[m] = _left(h, fired, threshold[m], reset[m], hard)


@kernel
def fire(op, current, v, spikes, first, size):  # type: ignore[no-untyped-def]
    """One step of the `size` neurons from `first` on; the addresses are those of the first one's numbers."""
    if op[EACH]:
        _unlike(op, first, floats(current, size), floats(v, size), octets(spikes, size))
    else:
        _alike(op, floats(current, size), floats(v, size), octets(spikes, size))


@kernel
def fire_adaptive(op, current, membrane, adaptation, before, spikes, size):  # type: ignore[no-untyped-def]
    """One step of `synfire.ops.alif.ALIF`; `before`, the spikes of the last step, become those of this one."""
    x, u, b, s = floats(current, size), floats(membrane, size), floats(adaptation, size), octets(before, size)
    alpha, rho, out = floats(op[RATE], size), floats(op[THRESHOLD], size), octets(spikes, size)
    base, slope, one, strict = floats(op[BASE], size), floats(op[SLOPE], size), np.float32(1), op[HARD] != 0
    for m in range(size):
        spike = np.float32(s[m])
        b[m] = rho[m] * b[m] + (one - rho[m]) * spike
        threshold = base[m] + slope[m] * b[m]
        h = alpha[m] * u[m] + (one - alpha[m]) * x[m] - threshold * spike
        u[m] = h
        out[m] = h > threshold if strict else h >= threshold
    for m in range(size):
        s[m] = out[m]
