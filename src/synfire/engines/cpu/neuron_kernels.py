"""Compiled kernels of neurons: all steps of a block, and the commonest cycle, whose spikes return through a linear synapse."""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import compiled, inlined
from synfire.engines.cpu.kernels import linear
from synfire.ops import Array


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


@inlined
def _receive(x, fed_back, current):  # type: ignore[no-untyped-def]
    for m in range(current.size):
        current[m] = x[m] + fed_back[m]


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
            _receive(x[t, b], fed_back[b], current[0, 0])
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
            _receive(x[t, b], fed_back[b], current[0, 0])
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
            _receive(x[t, n], fed_back[n], current[0, 0])
            spikes = out[t : t + 1, n : n + 1]
            alif(current, u[n : n + 1], b[n : n + 1], s[n : n + 1], alpha, rho, b0, beta, strict, spikes)
            linear(spikes[0], weight, bias, False, fed_back[n : n + 1])
