"""Neurons and readouts: all steps of a block in one pass, one lane a neuron, what they remember in registers.

Inputs are `(step, neuron)` with `pace` numbers from step to step (0: the same at each). Parameters are one number, or, with
`EACH`, one for each of a sample's `size` neurons. Operations are those of the reference steps, in their order.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _own(parameters, row, neuron, size, mask, EACH: tl.constexpr):
    """The row's parameter of these neurons."""
    if EACH:
        return tl.load(parameters + row * size + neuron, mask=mask, other=1)
    else:
        return tl.load(parameters + row)


@triton.jit
def _over(h, threshold, STRICT: tl.constexpr):
    if STRICT:
        return h > threshold
    else:
        return h >= threshold


@triton.jit
def _left(spikes, h, threshold, v_reset, RESET: tl.constexpr):
    """The membrane after firing."""
    if RESET == "hard":
        return tl.where(spikes, v_reset, h)
    elif RESET == "soft":
        return tl.where(spikes, h - threshold, h)
    else:
        return h


@triton.jit(do_not_specialize=["total", "steps", "pace"])
def fire(
    x, v, parameters, spikes, v_after, total, steps, pace, size,
    CHARGE: tl.constexpr, DIVIDE: tl.constexpr, RESET: tl.constexpr, STRICT: tl.constexpr, EACH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """IF, LIF and ParametricLIF; parameters are threshold, v_reset, and rate, which is divided by where `DIVIDE`.

    `CHARGE` is "add", "relax" (V + (X − (V − V₀)) · rate), "leak" (V − (V − V₀) · rate + X) or "keep" (V · rate + X).
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask, neuron = at < total, at % size
    threshold, v_reset = _own(parameters, 0, neuron, size, mask, EACH), _own(parameters, 1, neuron, size, mask, EACH)
    rate = _own(parameters, 2, neuron, size, mask, EACH) + tl.zeros((BLOCK,), tl.float32)
    h = tl.load(v + at, mask=mask, other=0)
    arriving, leaving = x + at, spikes + at
    for _ in range(steps):
        current = tl.load(arriving, mask=mask, other=0).to(tl.float32)
        above = h - v_reset if RESET == "hard" else h
        if CHARGE == "add":
            h = h + current
        elif CHARGE == "relax":
            h = h + (tl.div_rn(current - above, rate) if DIVIDE else (current - above) * rate)
        elif CHARGE == "leak":
            h = h - (tl.div_rn(above, rate) if DIVIDE else above * rate) + current
        else:
            h = h * rate + current
        fired = _over(h, threshold, STRICT)
        tl.store(leaving, fired.to(tl.uint8), mask=mask)
        arriving, leaving = arriving + pace, leaving + total
        h = _left(fired, h, threshold, v_reset, RESET)
    tl.store(v_after + at, h, mask=mask)


@triton.jit(do_not_specialize=["total", "steps", "pace"])
def fire_adaptive(
    x, u, b, s, parameters, spikes, u_after, b_after, s_after, total, steps, pace, size,
    STRICT: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """ALIF; parameters are alpha, rho, b0 and beta."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask, neuron = at < total, at % size
    alpha, rho = _own(parameters, 0, neuron, size, mask, EACH), _own(parameters, 1, neuron, size, mask, EACH)
    base, slope = _own(parameters, 2, neuron, size, mask, EACH), _own(parameters, 3, neuron, size, mask, EACH)
    membrane, raised = tl.load(u + at, mask=mask, other=0), tl.load(b + at, mask=mask, other=0)
    before = tl.load(s + at, mask=mask, other=0).to(tl.float32)
    arriving, leaving = x + at, spikes + at
    for _ in range(steps):
        current = tl.load(arriving, mask=mask, other=0).to(tl.float32)
        raised = rho * raised + (1.0 - rho) * before
        threshold = base + slope * raised
        membrane = alpha * membrane + (1.0 - alpha) * current - threshold * before
        before = _over(membrane, threshold, STRICT).to(tl.float32)
        tl.store(leaving, before.to(tl.uint8), mask=mask)
        arriving, leaving = arriving + pace, leaving + total
    tl.store(u_after + at, membrane, mask=mask)
    tl.store(b_after + at, raised, mask=mask)
    tl.store(s_after + at, before.to(tl.uint8), mask=mask)


@triton.jit
def _integrated(v, x, rate, rest, FORM: tl.constexpr):
    """`synfire.ops.membrane.integrate`."""
    if FORM == "relax":
        return v + rate * ((x + rest) - v)
    elif FORM == "relax_leak_first":
        return v + rate * ((rest - v) + x)
    elif FORM == "decay":
        return rate * v + x
    else:
        return rate * (v + x)


@triton.jit(do_not_specialize=["total", "steps", "pace"])
def integrate(
    x, v, i, parameters, out, v_after, i_after, total, steps, pace, size,
    FORM: tl.constexpr, CURRENT: tl.constexpr, ORDER: tl.constexpr, FIRES: tl.constexpr, RESET: tl.constexpr,
    RESET_AT: tl.constexpr, STRICT: tl.constexpr, MULTI: tl.constexpr, FLOOR: tl.constexpr, MOST: tl.constexpr,
    EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """DiscreteLIF, CubaLIF, CubaLI and LeakyIntegrator, whose attributes are the constants; `ORDER` "none": no current.

    Parameters are rate, gain, v_leak, w_in, current_rate, current_leak, threshold, v_reset, v_min.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask, neuron = at < total, at % size
    rate, gain = _own(parameters, 0, neuron, size, mask, EACH), _own(parameters, 1, neuron, size, mask, EACH)
    v_leak, w_in = _own(parameters, 2, neuron, size, mask, EACH), _own(parameters, 3, neuron, size, mask, EACH)
    i_rate, i_leak = _own(parameters, 4, neuron, size, mask, EACH), _own(parameters, 5, neuron, size, mask, EACH)
    threshold, v_reset = _own(parameters, 6, neuron, size, mask, EACH), _own(parameters, 7, neuron, size, mask, EACH)
    threshold += tl.zeros((BLOCK,), tl.float32)
    low = _own(parameters, 8, neuron, size, mask, EACH)
    membrane, current = tl.load(v + at, mask=mask, other=0), tl.zeros((BLOCK,), tl.float32)
    if ORDER != "none":
        current = tl.load(i + at, mask=mask, other=0)
    arriving, leaving = x + at, out + at
    for _ in range(steps):
        drive = tl.load(arriving, mask=mask, other=0).to(tl.float32)
        before = _over(membrane, threshold, STRICT)
        h = membrane
        if FIRES and RESET_AT == "before_charge":
            h = _left(before, h, threshold, v_reset, RESET)
        if ORDER == "none":
            h = _integrated(h, gain * drive, rate, v_leak, FORM)
        elif ORDER == "jump":
            jumped = current + w_in * drive
            current = jumped + -i_rate * jumped
            h = _integrated(h, gain * jumped, rate, v_leak, FORM)
        else:
            moved = _integrated(current, w_in * drive, i_rate, i_leak, CURRENT)
            h = _integrated(h, gain * (moved if ORDER == "current_first" else current), rate, v_leak, FORM)
            current = moved
        if not FIRES:
            emitted = h
        elif MULTI:
            several = tl.minimum(tl.where(h > 0, tl.div_rn(h, threshold), 0.0), MOST)
            emitted = several.to(tl.int32).to(tl.float32)
            h = h - emitted * threshold if RESET == "soft" else _left(emitted > 0, h, threshold, v_reset, RESET)
        else:
            if RESET_AT == "after_charge" or RESET_AT == "twice":
                h = _left(before, h, threshold, v_reset, RESET)
            fired = _over(h, threshold, STRICT)
            emitted = fired.to(tl.float32)
            if RESET_AT == "fire":
                h = _left(fired, h, threshold, v_reset, RESET)
            elif RESET_AT == "twice":
                h = h - (emitted - before.to(tl.float32)) * threshold
        if FLOOR:
            above = h - low
            h = tl.where(above < 0, 0.0, above) + low
        membrane = h
        tl.store(leaving, emitted.to(out.dtype.element_ty), mask=mask)
        arriving, leaving = arriving + pace, leaving + total
    tl.store(v_after + at, membrane, mask=mask)
    if ORDER != "none":
        tl.store(i_after + at, current, mask=mask)


@triton.jit(do_not_specialize=["total", "steps", "pace"])
def read_out(x, before, seen, out, after, total, steps, pace, size, KEEPS: tl.constexpr, BLOCK: tl.constexpr):
    """MeanRate ("mean"), SpikeCount ("sum") and MaxOverTime ("max"); `seen` `(batch,)` is how many steps there were before."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < total
    kept = tl.load(before + at, mask=mask, other=0)
    past = tl.load(seen + at // size, mask=mask, other=0)
    arriving, leaving = x + at, out + at
    for t in range(steps):
        value = tl.load(arriving, mask=mask, other=0).to(kept.dtype)
        if KEEPS == "max":
            kept = tl.where((value > kept) | (value != value), value, kept)
        else:
            kept = kept + value
        emitted = tl.div_rn(kept, (past + t + 1).to(tl.float32)) if KEEPS == "mean" else kept
        tl.store(leaving, emitted, mask=mask)
        arriving, leaving = arriving + pace, leaving + total
    tl.store(after + at, kept, mask=mask)
