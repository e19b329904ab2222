"""The inner loop of every synaptic kernel: add chosen weight rows to a few vector registers, in order.

Written as LLVM vector code, because the compiled loop of plain numba re-reads the accumulator and checks for aliasing
at each row. Addition and multiplication stay apart (no fused multiply-add): each rounds once, as in the reference step.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.core.extending import intrinsic

from synfire.base.compiled import compiled

LANES = 16
"""Outputs per vector register; the output axis of a weight is padded to a multiple of it."""


def _sum_rows(vectors: int, scaled: bool) -> Any:
    """An intrinsic that sums `vectors`·16 neighbouring outputs.

    (start, weight, rows, values, runs, number, column, out, at): for each of the outputs o from `column` on,
    out[at + o] = start[o] + Σ (values[j] ·) weight[base + rows[j] + o], for each of the first `number` runs
    (first, end, base) and each j from first to end, in this order. Arrays are flat and contiguous; `rows` and `base` are
    element offsets into `weight`.
    """
    vector, word = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(position: int) -> Any:
            return context.make_array(signature.args[position])(context, builder, args[position]).data

        start, weight, rows, values, runs, out = data(0), data(1), data(2), data(3), data(4), data(7)
        number, column, at = args[5], args[6], args[8]

        def lanes(pointer: Any, offset: Any, k: int) -> Any:
            element = builder.gep(pointer, [builder.add(offset, ir.Constant(word, k * LANES))])
            return builder.bitcast(element, vector.as_pointer())

        def run(index: Any, k: int) -> Any:
            return builder.load(builder.gep(runs, [builder.add(builder.mul(index, word(3)), word(k))]))

        totals = [cgutils.alloca_once(builder, vector) for _ in range(vectors)]
        for k, total in enumerate(totals):
            builder.store(builder.load(lanes(start, column, k), align=4), total)
        with cgutils.for_range(builder, number) as outer:
            base = builder.add(run(outer.index, 2), column)
            with cgutils.for_range(builder, run(outer.index, 1), start=run(outer.index, 0)) as inner:
                row = builder.sext(builder.load(builder.gep(rows, [inner.index])), word)
                offset = builder.add(row, base)
                if scaled:
                    x = builder.load(builder.gep(values, [inner.index]))
                    lane = builder.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                    spread = builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), mask)
                for k, total in enumerate(totals):
                    added = builder.load(lanes(weight, offset, k), align=4)
                    added = builder.fmul(spread, added) if scaled else added
                    builder.store(builder.fadd(builder.load(total), added), total)
        for k, total in enumerate(totals):
            builder.store(builder.load(total), lanes(out, builder.add(at, column), k), align=4)
        return context.get_dummy_value()

    def typing(
        typingctx: Any,
        start: Any,
        weight: Any,
        rows: Any,
        values: Any,
        runs: Any,
        number: Any,
        column: Any,
        out: Any,
        at: Any,
    ) -> Any:
        whole = numba.int64
        return numba.void(start, weight, rows, values, runs, whole, whole, out, whole), codegen

    return intrinsic(typing)


_spikes_1, _spikes_2, _spikes_4 = _sum_rows(1, False), _sum_rows(2, False), _sum_rows(4, False)
_values_1, _values_2, _values_4 = _sum_rows(1, True), _sum_rows(2, True), _sum_rows(4, True)


@compiled
def sum_rows(start, weight, rows, runs, number, width, out, at):  # type: ignore[no-untyped-def]
    """out[at + o] = start[o] + Σ weight[base + rows[j] + o] over the runs, for o < width, a multiple of 16."""
    column = 0
    while column + 64 <= width:
        _spikes_4(start, weight, rows, start, runs, number, column, out, at)
        column += 64
    if column + 32 <= width:
        _spikes_2(start, weight, rows, start, runs, number, column, out, at)
        column += 32
    if column < width:
        _spikes_1(start, weight, rows, start, runs, number, column, out, at)


@compiled
def sum_scaled_rows(start, weight, rows, values, runs, number, width, out, at):  # type: ignore[no-untyped-def]
    """out[at + o] = start[o] + Σ values[j] · weight[base + rows[j] + o] over the runs, for o < width."""
    column = 0
    while column + 64 <= width:
        _values_4(start, weight, rows, values, runs, number, column, out, at)
        column += 64
    if column + 32 <= width:
        _values_2(start, weight, rows, values, runs, number, column, out, at)
        column += 32
    if column < width:
        _values_1(start, weight, rows, values, runs, number, column, out, at)
