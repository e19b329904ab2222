"""Compiled kernels of synapses with one place where many inputs are active: a weight is read once for several frames.

The event-driven kernel (`synapse_kernels`) reads the weights of an active input anew for each frame, and nothing of a silent one.
Here several frames take each input's weights together, silent or not, while their sums stay in registers. Inputs come in the same
ascending order, and the product of an input of 0 is +0 or −0, which changes no bit of a sum that is not −0, as none is. Weights
are finite, as operators take no others: 0 times anything else is not a number. Synapses in tiles have no second kernel: their frames
share weights anyway.

That takes 29 registers of 16 numbers, so processors without AVX-512 keep to the event-driven kernel: theirs overflow, and a trial with
AVX2 took two to four times as long as that.

Which kernel sums is decided at run time, for the frames at hand, by how many of their inputs are active: see `is_dense`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.extending import intrinsic

from synfire.engines.cpu.synapse_kernels import list_row, start_row
from synfire.engines.cpu.tape import (
    ACROSS,
    ACTIVE,
    BLOCK,
    CHANNELS,
    COUNTED,
    CURRENT,
    DENSE,
    ENTER,
    FACTORS,
    FLOATS,
    FORMAT,
    LEAVE,
    LINES,
    RUNS,
    SOURCE,
    SOURCE_SAMPLE,
    SOURCE_STEP,
    SPIKES,
    SUMMED,
    WEIGHT,
    kernel,
)
from synfire.engines.cpu.vectors import (
    LANES,
    everywhere,
    floats,
    function_of,
    intrinsic_of,
    load,
    nonzero_bytes,
    nonzero_floats,
    octets,
    registers,
    store,
    sum_rows,
    sum_scaled_rows,
    words,
)

TOGETHER = 12
"""Frames that take their inputs together. Frames are summed 6 or 12 at a time, so sums need room for a multiple of it."""


def fits_registers() -> bool:
    """Whether sums and weights fit the registers of the processor for which code is compiled."""
    return registers() >= 29


_WORD, _FLOAT = ir.IntType(64), ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)


def _block(frames: int, vectors: int) -> Any:
    """(out, pitch, weight, across, x, apart, number): see `sum_dense`; for so many frames and vectors of outputs at once."""

    def body(b: Any, out: Any, pitch: Any, weight: Any, across: Any, x: Any, apart: Any, number: Any) -> None:
        rows = [(b.add(out, b.mul(_WORD(f), pitch)), b.add(x, b.mul(_WORD(f), apart))) for f in range(frames)]
        places = [b.add(row, _WORD(4 * LANES * v)) for row, _ in rows for v in range(vectors)]
        totals = [cgutils.alloca_once(b, _FLOATS) for _ in places]
        for place, total in zip(places, totals, strict=True):
            b.store(load(b, place, _FLOATS), total)
        with cgutils.for_range(b, number) as loop:
            shift, first = b.shl(loop.index, _WORD(2)), b.add(weight, b.mul(loop.index, across))
            weights = [load(b, b.add(first, _WORD(4 * LANES * v)), _FLOATS) for v in range(vectors)]
            for f, (_, given) in enumerate(rows):
                factor = everywhere(b, load(b, b.add(given, shift), _FLOAT))
                for total, each in zip(totals[f * vectors : (f + 1) * vectors], weights, strict=True):
                    b.store(b.fadd(b.load(total), b.fmul(factor, each)), total)
        for place, total in zip(places, totals, strict=True):
            store(b, b.load(total), place)

    def emit(b: Any, out: Any, pitch: Any, weight: Any, across: Any, x: Any, apart: Any, number: Any) -> None:
        function_of(b, f"synfire.dense.{frames}.{vectors}", body, out, pitch, weight, across, x, apart, number)

    return intrinsic_of(emit, numba.void)


def _add(builder: Any, address: Any, number: Any) -> None:
    builder.atomic_rmw("add", builder.inttoptr(address, _WORD.as_pointer()), number, "monotonic")


_count = intrinsic_of(_add, numba.void)

_12_1, _12_2, _6_3, _6_4 = _block(12, 1), _block(12, 2), _block(6, 3), _block(6, 4)


@kernel
def sum_dense(out, pitch, weight, across, vectors, x, apart, frames, number):  # type: ignore[no-untyped-def]
    """out[f, o] += Σ_i (weight + across · i)[o] · x[f, i] of `number` inputs i, ascending, for the first 16·`vectors` float32 o.

    Frames are `pitch` bytes apart at `out` and `apart` at `x`. Up to the next multiple of 6 or 12 of them are summed, whatever is there.
    """
    while vectors > 0:
        now = min(vectors, 4)
        together = _frames_of(now)
        for first in range(0, frames, together):
            to, of = out + first * pitch, x + first * apart
            if now == 4:
                _6_4(to, pitch, weight, across, of, apart, number)
            elif now == 3:
                _6_3(to, pitch, weight, across, of, apart, number)
            elif now == 2:
                _12_2(to, pitch, weight, across, of, apart, number)
            else:
                _12_1(to, pitch, weight, across, of, apart, number)
        out, weight, vectors = out + 4 * LANES * now, weight + 4 * LANES * now, vectors - now


@kernel
def is_dense(op, begin, count, steps):  # type: ignore[no-untyped-def]
    """Whether the `count` frames from the `begin`-th on, at most `TOGETHER`, shall be summed densely; if not, their inputs are listed.

    They are from `ENTER` thousandths of active inputs on, and then for as long as there are `LEAVE` of them, which are fewer: so frames
    whose density is near to the crossing of both kernels do not change from one to the other each time. To count is to list them where
    the event-driven kernel had the last word, so it costs nothing there. Frames that are summed for nothing are in the balance.
    """
    together, size, active = _frames_of(words(op[RUNS], 3)[2]), op[CHANNELS], 0
    whole = size * (-(-count // together) * together)
    if op[DENSE] > 0:
        for k in range(count):
            active += _count_row(op, _source(op, begin + k, steps))
        if 1000 * active >= op[LEAVE] * whole:
            return True
    op[DENSE], active, listed = 0, 0, words(op[SUMMED], TOGETHER)
    for k in range(count):
        entries, values = op[ACTIVE] + 4 * k * size, op[FACTORS] + 4 * k * size
        listed[k] = list_row(op, _source(op, begin + k, steps), size, entries, values)
        active += listed[k]
    if 1000 * active >= op[ENTER] * whole:
        op[DENSE] = 1
    return op[DENSE] > 0


@kernel
def sum_listed(op, k):  # type: ignore[no-untyped-def]
    """The current of the `k`-th frame whose inputs `is_dense` has listed."""
    size, current, number = op[CHANNELS], op[CURRENT], words(op[SUMMED], TOGETHER)[k]
    vectors, entries = words(op[RUNS], 3)[2], op[ACTIVE] + 4 * k * size
    start_row(op, current)
    if op[FORMAT] == SPIKES:
        sum_rows(current, _weight(op), entries, op[ACROSS], number, vectors, 1, 0, 0)
    else:
        values = op[FACTORS] + 4 * k * size
        sum_scaled_rows(current, _weight(op), entries, op[ACROSS], values, number, vectors, 1, 0, 0)
    return current


@kernel
def _source(op, k, steps):  # type: ignore[no-untyped-def]
    """Where the `k`-th frame is, `steps` of them for each sample."""
    return op[SOURCE] + k // steps * op[SOURCE_SAMPLE] + k % steps * op[SOURCE_STEP]


@kernel
def _weight(op):  # type: ignore[no-untyped-def]
    """Where the first input's weights are."""
    return op[WEIGHT] + words(op[LINES], 2)[1] + words(op[RUNS], 3)[1]


@kernel
def _frames_of(vectors):  # type: ignore[no-untyped-def]
    """How many frames are summed at the same time: their sums and the weights fit the registers."""
    return 6 if vectors > 2 else 12


@kernel
def count_frames(op, dense, frames):  # type: ignore[no-untyped-def]
    """Count frames as those of one kernel; several threads may do so at a time."""
    _count(op[COUNTED] + (8 if dense else 0), frames)


def _ones(context: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return numba.int64(numba.uint64), codegen


_ones_of: Any = intrinsic(_ones)


@kernel
def _count_row(op, source):  # type: ignore[no-untyped-def]
    """How many inputs of a frame are not 0."""
    size, form, one = op[CHANNELS], op[FORMAT], np.uint64(1)
    together, count = 16 if form == FLOATS else 64, 0
    for first in range(0, size, together):
        mask = nonzero_floats(source + 4 * first) if form == FLOATS else nonzero_bytes(source + first)
        if size - first < together:
            mask &= (one << np.uint64(size - first)) - one
        count += _ones_of(mask)
    return count


@kernel
def sum_densely(op, begin, count, steps):  # type: ignore[no-untyped-def]
    """The currents of `count` frames from the `begin`-th on, at most `TOGETHER`: see `current_of`.

    Inputs are taken `BLOCK` at a time, as float32, so that they and their weights stay in the nearest cache.
    """
    across, vectors, size, block = op[ACROSS], words(op[RUNS], 3)[2], op[CHANNELS], op[BLOCK]
    weight, pitch = _weight(op), 4 * LANES * vectors
    for k in range(count):
        start_row(op, current_of(op, k))
    for first in range(0, size, block):
        number = min(block, size - first)
        for k in range(count):
            _widen(op[FORMAT], _source(op, begin + k, steps), first, floats(op[SUMMED] + 4 * k * block, number))
        sum_dense(op[CURRENT], pitch, weight + first * across, across, vectors, op[SUMMED], 4 * block, count, number)


@kernel
def current_of(op, k):  # type: ignore[no-untyped-def]
    """Where the `k`-th of the currents is that `sum_densely` sums: each takes whole vectors."""
    return op[CURRENT] + 4 * LANES * words(op[RUNS], 3)[2] * k


@kernel
def _widen(form, source, first, out):  # type: ignore[no-untyped-def]
    """Inputs from `first` on as float32."""
    if form == FLOATS:
        x = floats(source + 4 * first, out.size)
        for m in range(out.size):
            out[m] = x[m]
    else:
        y = octets(source + first, out.size)
        for m in range(out.size):
            out[m] = np.float32(y[m])
