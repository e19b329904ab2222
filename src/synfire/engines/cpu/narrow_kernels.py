"""The compiled kernel of synapses that read spikes and whose weights are kept in less than a float32.

**Bytes** are whole numbers, which are summed, and scaled where the neurons take them. Sums of whole numbers are the same in any
order, so these synapses give the same bits however they are cut and batched. They are kept in 16 bits for as many inputs as
surely fit, then in 32, in the place of the current. A byte is a quarter of the memory traffic of a float32, and twice as many
go into a vector register.

**Halves** are bfloat16, the upper two bytes of a float32: they are widened, and added in the canonical order as float32. So the
bits are those of the exact engine with rounded weights. That is half the memory traffic, and two more instructions a vector.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from synfire.base.compiled import trailing_zeros
from synfire.engines.cpu.tape import (
    ACROSS,
    ACTIVE,
    BIAS,
    CHANNELS,
    HALVES,
    LINE_INDEX,
    LINES,
    NARROW,
    ROW,
    RUN_INDEX,
    RUNS,
    SCALE,
    WEIGHT,
    WIDTH,
    kernel,
)
from synfire.engines.cpu.vectors import LANES, floats, integers, intrinsic_of, nonzero_bytes, words

LARGEST = 127
"""The largest weight; −128 is not used."""

_TOGETHER = 32767 // LARGEST
"""So many weights fit into a sum of 16 bits."""

_WORD, _ENTRY = ir.IntType(64), ir.IntType(32)


def _sum_bytes(vectors: int, lines: int) -> Any:
    """(out, weight, entries, across, number, down, along): see `_sum`; for `lines` at once, 16·`vectors` numbers each."""
    pieces = [(2 * LANES * k, 2 * LANES) for k in range(vectors // 2)]
    pieces += [(LANES * (vectors - 1), LANES)] if vectors % 2 else []

    def codegen(b: Any, out: Any, weight: Any, entries: Any, across: Any, number: Any, down: Any, along: Any) -> None:
        def typed(bits: int, lanes: int) -> Any:
            return ir.VectorType(ir.IntType(bits), lanes)

        def pointer(start: Any, apart: Any, line: int, offset: int, kind: Any) -> Any:
            at = b.add(b.add(start, b.mul(_WORD(line), apart)), _WORD(offset))
            return b.inttoptr(at, kind.as_pointer())

        every = [(line, first, lanes) for line in range(lines) for first, lanes in pieces]
        totals = [cgutils.alloca_once_value(b, ir.Constant(typed(16, lanes), [0] * lanes)) for _, _, lanes in every]
        with cgutils.for_range(b, number) as loop:
            at = b.inttoptr(b.add(entries, b.shl(loop.index, _WORD(2))), _ENTRY.as_pointer())
            row = b.add(weight, b.mul(across, b.sext(b.load(at), _WORD)))
            for (line, first, lanes), total in zip(every, totals, strict=True):
                read = b.load(pointer(row, along, line, first, typed(8, lanes)), align=1)
                b.store(b.add(b.load(total), b.sext(read, typed(16, lanes))), total)
        for (line, first, lanes), total in zip(every, totals, strict=True):
            onto = pointer(out, down, line, 4 * first, typed(32, lanes))
            b.store(b.add(b.load(onto, align=1), b.sext(b.load(total), typed(32, lanes))), onto, align=1)

    return intrinsic_of(codegen, numba.void)


_sum_1, _sum_2, _sum_3, _sum_4, _sum_6, _sum_8 = (_sum_bytes(k, 1) for k in (1, 2, 3, 4, 6, 8))
_sum_1_3, _sum_2_3, _sum_3_3, _sum_4_3, _sum_6_3, _sum_8_3 = (_sum_bytes(k, 3) for k in (1, 2, 3, 4, 6, 8))


@kernel
def _sum(out, weight, entries, across, number, vectors, lines, down, along):  # type: ignore[no-untyped-def]
    """out[o] += Σ_j (weight + across · entries[j])[o] for the first 16·`vectors` int32 o, of `lines`; see `sum_rows`."""
    while vectors > 0:
        now = vectors
        if vectors > 4:
            now = 8 if vectors >= 8 else 6 if vectors >= 6 else 4
        left, to, of = lines, out, weight
        while left > 0:
            three = left >= 3
            if now == 6:
                if three:
                    _sum_6_3(to, of, entries, across, number, down, along)
                else:
                    _sum_6(to, of, entries, across, number, down, along)
            elif now == 3:
                if three:
                    _sum_3_3(to, of, entries, across, number, down, along)
                else:
                    _sum_3(to, of, entries, across, number, down, along)
            elif now == 8:
                if three:
                    _sum_8_3(to, of, entries, across, number, down, along)
                else:
                    _sum_8(to, of, entries, across, number, down, along)
            elif now == 4:
                if three:
                    _sum_4_3(to, of, entries, across, number, down, along)
                else:
                    _sum_4(to, of, entries, across, number, down, along)
            elif now == 2:
                if three:
                    _sum_2_3(to, of, entries, across, number, down, along)
                else:
                    _sum_2(to, of, entries, across, number, down, along)
            elif three:
                _sum_1_3(to, of, entries, across, number, down, along)
            else:
                _sum_1(to, of, entries, across, number, down, along)
            step = 3 if three else 1
            left, to, of = left - step, to + step * down, of + step * along
        out, weight, vectors = out + 4 * 16 * now, weight + 16 * now, vectors - now


def _add_halves(vectors: int, lines: int) -> Any:
    """(out, weight, entries, across, number, down, along): see `sum_halves`; for `lines` at once, 16·`vectors` numbers each."""
    half, whole = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(32), LANES)
    real = ir.VectorType(ir.FloatType(), LANES)

    def codegen(b: Any, out: Any, weight: Any, entries: Any, across: Any, number: Any, down: Any, along: Any) -> None:
        def places(first: Any, apart: Any, size: int, kind: Any) -> list[Any]:
            starts = [b.add(first, b.mul(_WORD(line), apart)) for line in range(lines)]
            offsets = [b.add(start, _WORD(size * LANES * k)) for start in starts for k in range(vectors)]
            return [b.inttoptr(at, kind.as_pointer()) for at in offsets]

        totals = [cgutils.alloca_once(b, real) for _ in range(lines * vectors)]
        for place, total in zip(places(out, down, 4, real), totals, strict=True):
            b.store(b.load(place, align=1), total)
        with cgutils.for_range(b, number) as loop:
            at = b.inttoptr(b.add(entries, b.shl(loop.index, _WORD(2))), _ENTRY.as_pointer())
            row = b.add(weight, b.mul(across, b.sext(b.load(at), _WORD)))
            for place, total in zip(places(row, along, 2, half), totals, strict=True):
                wide = b.shl(b.zext(b.load(place, align=1), whole), ir.Constant(whole, [16] * LANES))
                b.store(b.fadd(b.load(total), b.bitcast(wide, real)), total)
        for place, total in zip(places(out, down, 4, real), totals, strict=True):
            b.store(b.load(total), place, align=1)

    return intrinsic_of(codegen, numba.void)


_half_1, _half_2, _half_3, _half_4, _half_6, _half_8 = (_add_halves(k, 1) for k in (1, 2, 3, 4, 6, 8))
_half_1_3, _half_2_3, _half_3_3, _half_4_3, _half_6_3, _half_8_3 = (_add_halves(k, 3) for k in (1, 2, 3, 4, 6, 8))


@kernel
def sum_halves(out, weight, entries, across, number, vectors, lines, down, along):  # type: ignore[no-untyped-def]
    """out[o] += Σ_j (weight + across · entries[j])[o] for the first 16·`vectors` float32 o, of `lines`, j ascending."""
    while vectors > 0:
        now = vectors
        if vectors > 4:
            now = 8 if vectors >= 8 else 6 if vectors >= 6 else 4
        left, to, of = lines, out, weight
        while left > 0:
            three = left >= 3
            if now == 6:
                if three:
                    _half_6_3(to, of, entries, across, number, down, along)
                else:
                    _half_6(to, of, entries, across, number, down, along)
            elif now == 3:
                if three:
                    _half_3_3(to, of, entries, across, number, down, along)
                else:
                    _half_3(to, of, entries, across, number, down, along)
            elif now == 8:
                if three:
                    _half_8_3(to, of, entries, across, number, down, along)
                else:
                    _half_8(to, of, entries, across, number, down, along)
            elif now == 4:
                if three:
                    _half_4_3(to, of, entries, across, number, down, along)
                else:
                    _half_4(to, of, entries, across, number, down, along)
            elif now == 2:
                if three:
                    _half_2_3(to, of, entries, across, number, down, along)
                else:
                    _half_2(to, of, entries, across, number, down, along)
            elif three:
                _half_1_3(to, of, entries, across, number, down, along)
            else:
                _half_1(to, of, entries, across, number, down, along)
            step = 3 if three else 1
            left, to, of = left - step, to + step * down, of + step * along
        out, weight, vectors = out + 4 * 16 * now, weight + 2 * 16 * now, vectors - now


@kernel
def receive_narrow_row(op, source, y, out):  # type: ignore[no-untyped-def]
    """Add what row `y` of the input, spikes at `source`, gives to the current `out`, which holds int32 for bytes.

    The tables are those of `synfire.engines.cpu.reach`.
    """
    line_index, lines = words(op[LINE_INDEX], 0), words(op[LINES], 0)
    run_index, runs = words(op[RUN_INDEX], 0), words(op[RUNS], 0)
    first, reached = line_index[y], line_index[y + 1] - line_index[y]
    if reached == 0:
        return
    down = lines[2 * first + 2] - lines[2 * first] if reached > 1 else 0
    along = lines[2 * first + 3] - lines[2 * first + 1] if reached > 1 else 0
    across, channels, halves = op[ACROSS], op[CHANNELS], op[NARROW] == HALVES
    active = integers(op[ACTIVE], channels)
    for x in range(op[WIDTH]):
        number = _list(active, source + x * channels, channels)
        if number == 0:
            continue
        for run in range(run_index[x], run_index[x + 1]):
            onto = out + runs[3 * run] + lines[2 * first]
            rows, vectors = op[WEIGHT] + runs[3 * run + 1] + lines[2 * first + 1], runs[3 * run + 2]
            if halves:
                sum_halves(onto, rows, op[ACTIVE], across, number, vectors, reached, down, along)
                continue
            for begin in range(0, number, _TOGETHER):
                now = min(_TOGETHER, number - begin)
                _sum(onto, rows, op[ACTIVE] + 4 * begin, across, now, vectors, reached, down, along)


@kernel
def _list(active, source, size):  # type: ignore[no-untyped-def]
    """List which of the `size` bytes are not 0; how many."""
    count, one = 0, np.uint64(1)
    for first in range(0, size, 64):
        mask = nonzero_bytes(source + first)
        if size - first < 64:
            mask &= (one << np.uint64(size - first)) - one
        while mask:
            active[count] = first + trailing_zeros(mask)
            count += 1
            mask &= mask - one
    return count


@kernel
def scale_row(op, out):  # type: ignore[no-untyped-def]
    """A row of the current as float32: the sum of whole numbers times its output's scale, plus its bias."""
    size = op[ROW]
    whole, current, scale, bias = (
        integers(out, size),
        floats(out, size),
        floats(op[SCALE], size),
        floats(op[BIAS], size),
    )
    for k in range(size):
        current[k] = np.float32(whole[k]) * scale[k] + bias[k]
