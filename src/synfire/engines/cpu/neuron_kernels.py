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

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

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
from synfire.engines.cpu.vectors import LANES, everywhere, floats, function_of, intrinsic_of, load, octets, store

_WORD, _OCTET, _FLOAT = ir.IntType(64), ir.IntType(8), ir.FloatType()

_CHARGES: dict[int, Callable[..., Any]] = {
    IF: lambda b, v, x, away, rate: b.fadd(v, x),
    DECAY_DIVIDE: lambda b, v, x, away, rate: b.fadd(v, b.fdiv(b.fsub(x, away), rate)),
    DECAY: lambda b, v, x, away, rate: b.fadd(v, b.fmul(b.fsub(x, away), rate)),
    LEAK_DIVIDE: lambda b, v, x, away, rate: b.fadd(b.fsub(v, b.fdiv(away, rate)), x),
    LEAK: lambda b, v, x, away, rate: b.fadd(b.fsub(v, b.fmul(away, rate)), x),
    KEEP: lambda b, v, x, away, rate: b.fadd(b.fmul(v, rate), x),
}
"""The membrane before it may fire, as the table above has it; `away` is how far it was from rest."""

_HALF = LANES // 2
"""Neurons at a time where a charge divides: processors divide half a vector in less than half the time."""


def _several(kind: Any, lanes: int) -> Any:
    return kind if lanes == 1 else ir.VectorType(kind, lanes)


def _own(b: Any, lanes: int, places: Sequence[Any], hard: Any, alike: bool) -> Sequence[Any]:
    """Of some neurons, or of all: where they fire, what they lose then, where they reset, what they relax to, and their rate."""
    kind = _several(_FLOAT, lanes)
    if alike and lanes > 1:
        at, threshold, reset, rate = (everywhere(b, load(b, place, _FLOAT), lanes) for place in places)
    else:
        at, threshold, reset, rate = (load(b, place, kind) for place in places)
    return at, threshold, reset, b.select(hard, reset, ir.Constant(kind, None)), rate


def _step(
    b: Any, lanes: int, charge: Callable[..., Any], hard: Any, again: Any, own: Sequence[Any], places: Sequence[Any]
) -> None:
    """Some neurons, from their current to their spikes; `again`: the current begins anew once it was read."""
    (at, threshold, reset, rest, rate), (current, membrane, spikes, start) = own, places
    x, v = (load(b, place, _several(_FLOAT, lanes)) for place in (current, membrane))
    with b.if_then(again):
        store(b, load(b, start, _several(_FLOAT, lanes)), current)
    h = charge(b, v, x, b.fsub(v, rest), rate)
    fired = b.fcmp_ordered(">=", h, at)
    left = b.select(hard, reset, b.fsub(h, threshold))
    store(b, b.zext(fired, _several(_OCTET, lanes)), spikes)
    store(b, b.select(fired, left, h), membrane)


def _layer(b: Any, form: int, each: bool, hard: Any, size: Any, places: Sequence[Any]) -> None:
    """A vector of neurons at a time, then four, then one: nothing is touched beyond the last one."""
    done, charge, (current, v, spikes, start, *parameters) = _WORD(0), _CHARGES[form], places
    again = b.icmp_signed("!=", start, _WORD(0))
    for lanes in (_HALF if form in (DECAY_DIVIDE, LEAK_DIVIDE) else LANES, 4, 1):
        alike, until = _own(b, lanes, parameters, hard, True), b.and_(size, _WORD(-lanes))
        with cgutils.for_range_slice(b, done, until, _WORD(lanes), inc=True) as (m, _):
            shift = b.shl(m, _WORD(2))
            own = _own(b, lanes, [b.add(place, shift) for place in parameters], hard, False) if each else alike
            here = [b.add(current, shift), b.add(v, shift), b.add(spikes, m), b.add(start, shift)]
            _step(b, lanes, charge, hard, again, own, here)
        done = until


def _layers(b: Any, form: Any, hard: Any, each: Any, size: Any, *places: Any) -> None:
    """Loops for every charge, with parameters that all neurons share and with ones of their own.

    Written as LLVM vector code: plain numba takes some 65 cycles at each call to see that nothing overlaps.
    """
    done, hard = b.append_basic_block(), b.icmp_signed("!=", hard, _WORD(0))
    kind = b.switch(b.add(form, b.mul(each, _WORD(len(_CHARGES)))), done)
    for unlike in (False, True):
        for number in _CHARGES:
            block = b.append_basic_block()
            kind.add_case(_WORD(number + len(_CHARGES) * unlike), block)
            b.position_at_end(block)
            _layer(b, number, unlike, hard, size, places)
            b.branch(done)
    b.position_at_end(done)


def _call(
    b: Any, form: Any, hard: Any, each: Any, size: Any, current: Any, v: Any, spikes: Any, start: Any, at: Any, fall: Any, reset: Any,
    rate: Any,
) -> None:  # fmt: skip
    function_of(b, "synfire.fire", _layers, form, hard, each, size, current, v, spikes, start, at, fall, reset, rate)


_fire = intrinsic_of(_call, numba.void)


@kernel
def fire(op, current, v, spikes, first, size, start):  # type: ignore[no-untyped-def]
    """One step of the `size` neurons from `first` on; the addresses are those of the first one's numbers.

    The current becomes what is at `start` again, unless that is 0.
    """
    each = op[EACH]
    own = 4 * first * each
    at, threshold, reset, rate = op[FIRES_AT] + own, op[THRESHOLD] + own, op[RESTS_AT] + own, op[RATE] + own
    _fire(op[FORM], op[HARD], each, size, current, v, spikes, start, at, threshold, reset, rate)


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
