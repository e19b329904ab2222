"""Vector code that plain numba cannot say: sums of weight rows, windows, masks of what is not zero; and views of addresses.

Written as LLVM vector code, because the compiled loop of plain numba re-reads the accumulator and checks for aliasing
at each row. Addition and multiplication stay apart (no fused multiply-add): each rounds once, as in the reference step.
Addresses are int64. Whatever reads or writes whole vectors may touch up to `SLACK` bytes behind what it was told of.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, codegen
from numba.core.extending import intrinsic
from numba.np import arrayobj

from synfire.engines.cpu.tape import kernel

LANES = 16
"""Numbers per vector register."""

SLACK = 64
"""Bytes to keep behind every piece of memory that the kernels work on."""


@lru_cache(None)
def registers() -> int:
    """How many vectors fit into the registers of the processor for which code is compiled: 32 with AVX-512; 8, as halves, with AVX2."""
    features = numba.config.CPU_FEATURES
    return 32 if "+avx512f" in (codegen.get_host_cpu_features() if features is None else features).split(",") else 8


_WORD, _INTEGER, _FLOAT, _BYTE = ir.IntType(64), ir.IntType(32), ir.FloatType(), ir.IntType(8)
_FLOATS, _BYTES = ir.VectorType(_FLOAT, LANES), ir.VectorType(_BYTE, LANES)


def intrinsic_of(codegen: Any, result: Any) -> Any:
    """`codegen(builder, *arguments)` as a function of whole numbers."""

    def typing(typingctx: Any, *arguments: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            made = codegen(builder, *args)
            return context.get_dummy_value() if made is None else made

        return result(*[numba.int64] * len(arguments)), emit

    typing.__signature__ = inspect.signature(codegen)  # type: ignore[attr-defined]  # numba binds arguments by it
    return intrinsic(typing)


def function_of(builder: Any, name: str, body: Any, *arguments: Any) -> None:
    """Call an LLVM function of whole numbers, `body(builder, *arguments)`, which a module holds once, by its `name`.

    What is a function by itself is compiled once, and not in each of the places that it is called from.
    """
    made = builder.module.globals.get(name)
    if made is None:
        made = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [_WORD] * len(arguments)), name)
        made.linkage = "linkonce_odr"
        made.attributes.add("noinline")
        inside = ir.IRBuilder(made.append_basic_block())
        body(inside, *made.args)
        inside.ret_void()
    builder.call(made, arguments)


def load(builder: Any, address: Any, kind: Any) -> Any:
    """What lies at an address, which need not be a multiple of its size; `kind` is LLVM's."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def store(builder: Any, value: Any, address: Any) -> None:
    """The inverse of `load`."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def everywhere(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """The number in every lane."""
    kind = ir.VectorType(value.type, lanes)
    lane = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(lane, ir.Constant(kind, ir.Undefined), mask)


def _sum_rows(vectors: int, lines: int, scaled: bool) -> Any:
    """(out, weight, entries, across, values, number, down, along): see `sum_rows`; for `lines` at once, 16·`vectors` numbers each."""

    def codegen(
        builder: Any, out: Any, weight: Any, entries: Any, across: Any, values: Any, number: Any, down: Any, along: Any
    ) -> None:
        def places(first: Any, apart: Any) -> list[Any]:
            starts = [builder.add(first, builder.mul(_WORD(n), apart)) for n in range(lines)]
            return [builder.add(start, _WORD(k * 4 * LANES)) for start in starts for k in range(vectors)]

        totals = [cgutils.alloca_once(builder, _FLOATS) for _ in range(lines * vectors)]
        for place, total in zip(places(out, down), totals, strict=True):
            builder.store(load(builder, place, _FLOATS), total)
        with cgutils.for_range(builder, number) as loop:
            entry = load(builder, builder.add(entries, builder.shl(loop.index, _WORD(2))), _INTEGER)
            row = builder.add(weight, builder.mul(builder.zext(entry, _WORD), across))
            if scaled:
                x = everywhere(builder, load(builder, builder.add(values, builder.shl(loop.index, _WORD(2))), _FLOAT))
            for place, total in zip(places(row, along), totals, strict=True):
                added = load(builder, place, _FLOATS)
                added = builder.fmul(x, added) if scaled else added
                builder.store(builder.fadd(builder.load(total), added), total)
        for place, total in zip(places(out, down), totals, strict=True):
            store(builder, builder.load(total), place)

    return intrinsic_of(codegen, numba.void)


def _few(number: int, scaled: bool) -> Any:
    """(out, weight, entries, across, values, vectors, lines, down, along): see `sum_rows`; of `number` entries."""

    def codegen(
        b: Any, out: Any, weight: Any, entries: Any, across: Any, values: Any, vectors: Any, lines: Any, down: Any, along: Any
    ) -> None:  # fmt: skip
        places = [_WORD(4 * j) for j in range(number)]
        listed = [b.zext(load(b, b.add(entries, place), _INTEGER), _WORD) for place in places]
        rows = [b.add(weight, b.mul(entry, across)) for entry in listed]
        factors = [everywhere(b, load(b, b.add(values, place), _FLOAT)) if scaled else None for place in places]
        with cgutils.for_range(b, lines) as line, cgutils.for_range(b, vectors) as vector:
            first = b.mul(vector.index, _WORD(4 * LANES))
            onto = b.add(out, b.add(first, b.mul(line.index, down)))
            of = b.add(first, b.mul(line.index, along))
            total = load(b, onto, _FLOATS)
            for row, x in zip(rows, factors, strict=True):
                added = load(b, b.add(row, of), _FLOATS)
                total = b.fadd(total, b.fmul(x, added) if scaled else added)
            store(b, total, onto)

    return intrinsic_of(codegen, numba.void)


def _nonzero(builder: Any, address: Any) -> Any:
    kind = ir.VectorType(_BYTE, 64)
    found = builder.icmp_unsigned("!=", load(builder, address, kind), ir.Constant(kind, [0] * 64))
    return builder.bitcast(found, _WORD)


def _nonzero_floats(builder: Any, address: Any) -> Any:
    found = builder.fcmp_unordered("!=", load(builder, address, _FLOATS), ir.Constant(_FLOATS, [0.0] * LANES))
    return builder.zext(builder.bitcast(found, ir.IntType(16)), _WORD)


nonzero_bytes = intrinsic_of(_nonzero, numba.uint64)
"""(address): bit k says that the k-th of 64 bytes is not 0."""

nonzero_floats = intrinsic_of(_nonzero_floats, numba.uint64)
"""(address): bit k says that the k-th of 16 float32 is not 0 (or is not a number)."""


def _prefetch(builder: Any, address: Any) -> None:
    pointer = ir.IntType(8).as_pointer()
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), (pointer, number, number, number))
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(function, (builder.inttoptr(address, pointer), number(0), number(2), number(1)))


prefetch = intrinsic_of(_prefetch, numba.void)
"""(address): ask for the 64 bytes there, to have them in the second cache when they are read."""


def _copy(builder: Any, source: Any, out: Any, size: Any) -> None:
    pointer = ir.IntType(8).as_pointer()
    cgutils.raw_memcpy(builder, builder.inttoptr(out, pointer), builder.inttoptr(source, pointer), size, 1)


copy = intrinsic_of(_copy, numba.void)
"""(source, out, size): copy bytes."""


def _window(floats: bool, add: bool, mean: bool) -> Any:
    """(source, rows, row_step, columns, column_step, out, divisor): 16 channels of one window, in ascending place.

    Bytes or float32; the maximum or the sum; a mean is a sum as float32, divided by `divisor`. Steps are in bytes.
    """

    def codegen(
        b: Any, source: Any, rows: Any, row_step: Any, columns: Any, column_step: Any, out: Any, divisor: Any
    ) -> None:
        kind = _FLOATS if floats else _BYTES
        total = cgutils.alloca_once(b, kind)
        zero = ir.Constant(kind, [0.0 if floats else 0] * LANES)
        b.store(zero if add else load(b, source, kind), total)
        with (
            cgutils.for_range(b, rows) as outer,
            cgutils.for_range(b, columns) as inner,
        ):
            at = b.add(source, b.add(b.mul(outer.index, row_step), b.mul(inner.index, column_step)))
            here, before = load(b, at, kind), b.load(total)
            if add:
                b.store(b.fadd(before, here) if floats else b.add(before, here), total)
            else:
                over = b.fcmp_ordered(">", here, before) if floats else b.icmp_unsigned(">", here, before)
                b.store(b.select(over, here, before), total)
        found = b.load(total)
        if mean:
            found = found if floats else b.uitofp(found, _FLOATS)
            found = b.fdiv(found, everywhere(b, b.sitofp(divisor, _FLOAT)))
        elif floats and not add:
            found = b.fadd(found, zero)  # of two zeros the positive one
        store(b, found, out)

    return intrinsic_of(codegen, numba.void)


most_bytes, most_floats = _window(False, False, False), _window(True, False, False)
sum_bytes, sum_floats = _window(False, True, False), _window(True, True, False)
mean_bytes, mean_floats = _window(False, True, True), _window(True, True, True)


def _view(number: Any) -> Any:
    """(address, size): the `size` numbers there as an array that belongs to nobody."""
    kind = numba.types.Array(number, 1, "C")

    def typing(typingctx: Any, address: Any, size: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            view, item = context.make_array(kind)(context, builder), context.get_data_type(number)
            start, bytes_ = builder.inttoptr(args[0], item.as_pointer()), _WORD(number.bitwidth // 8)
            arrayobj.populate_array(view, start, [args[1]], [bytes_], bytes_, None)
            return view._getvalue()

        return kind(numba.int64, numba.int64), emit

    return intrinsic(typing)


floats, octets, integers, words = (_view(kind) for kind in (numba.float32, numba.uint8, numba.int32, numba.int64))


_few_1, _few_2, _few_3, _few_4 = (_few(number, False) for number in (1, 2, 3, 4))
_scaled_few_1, _scaled_few_2, _scaled_few_3, _scaled_few_4 = (_few(number, True) for number in (1, 2, 3, 4))
_rows_1, _rows_2, _rows_3, _rows_4 = (_sum_rows(k, 1, False) for k in (1, 2, 3, 4))
_rows_5, _rows_6, _rows_7, _rows_8 = (_sum_rows(k, 1, False) for k in (5, 6, 7, 8))
_rows_2_3, _rows_3_3, _rows_4_3, _rows_6_3, _rows_8_3 = (_sum_rows(k, 3, False) for k in (2, 3, 4, 6, 8))
_scaled_1, _scaled_2, _scaled_3, _scaled_4 = (_sum_rows(k, 1, True) for k in (1, 2, 3, 4))
_scaled_5, _scaled_6, _scaled_7, _scaled_8 = (_sum_rows(k, 1, True) for k in (5, 6, 7, 8))
_scaled_2_3, _scaled_3_3, _scaled_4_3, _scaled_6_3, _scaled_8_3 = (_sum_rows(k, 3, True) for k in (2, 3, 4, 6, 8))

_THREE_LINES = {32: (2, 3, 4, 6, 8), 8: (2,)}[registers()]
"""How many vectors of each of three lines fit into the registers."""

_SCALED = {32: 8, 8: 6}[registers()]
"""How many vectors of a line fit into them beside a product and what it is multiplied by."""


@kernel
def sum_rows(out, weight, entries, across, number, vectors, lines, down, along):  # type: ignore[no-untyped-def]
    """out[o] += Σ_j (weight + across · entries[j])[o] for the first 16·`vectors` float32 o, j ascending; `entries` int32.

    The same for `lines` of them, `down` bytes apart in the output and `along` in the weight: of few inputs with each output read and
    written once, without a loop over them; of more with the sums of one line in registers, or of three where they fit, so that the
    loop ends once and not three times.
    """
    if 0 < number <= 4:
        if number == 1:
            _few_1(out, weight, entries, across, 0, vectors, lines, down, along)
        elif number == 2:
            _few_2(out, weight, entries, across, 0, vectors, lines, down, along)
        elif number == 3:
            _few_3(out, weight, entries, across, 0, vectors, lines, down, along)
        else:
            _few_4(out, weight, entries, across, 0, vectors, lines, down, along)
        return
    while vectors > 0:
        now = min(vectors, 8)
        left, to, of = lines, out, weight
        while left >= 3 and now in _THREE_LINES:
            if now == 6:
                _rows_6_3(to, of, entries, across, 0, number, down, along)
            elif now == 3:
                _rows_3_3(to, of, entries, across, 0, number, down, along)
            elif now == 8:
                _rows_8_3(to, of, entries, across, 0, number, down, along)
            elif now == 4:
                _rows_4_3(to, of, entries, across, 0, number, down, along)
            else:
                _rows_2_3(to, of, entries, across, 0, number, down, along)
            left, to, of = left - 3, to + 3 * down, of + 3 * along
        while left > 0:
            if now == 8:
                _rows_8(to, of, entries, across, 0, number, down, along)
            elif now == 6:
                _rows_6(to, of, entries, across, 0, number, down, along)
            elif now == 4:
                _rows_4(to, of, entries, across, 0, number, down, along)
            elif now == 3:
                _rows_3(to, of, entries, across, 0, number, down, along)
            elif now == 2:
                _rows_2(to, of, entries, across, 0, number, down, along)
            elif now == 1:
                _rows_1(to, of, entries, across, 0, number, down, along)
            elif now == 5:
                _rows_5(to, of, entries, across, 0, number, down, along)
            else:
                _rows_7(to, of, entries, across, 0, number, down, along)
            left, to, of = left - 1, to + down, of + along
        out, weight, vectors = out + 512, weight + 512, vectors - 8


@kernel
def sum_scaled_rows(out, weight, entries, across, values, number, vectors, lines, down, along):  # type: ignore[no-untyped-def]
    """`sum_rows`, each row multiplied by its `values[j]`, float32."""
    if 0 < number <= 4:
        if number == 1:
            _scaled_few_1(out, weight, entries, across, values, vectors, lines, down, along)
        elif number == 2:
            _scaled_few_2(out, weight, entries, across, values, vectors, lines, down, along)
        elif number == 3:
            _scaled_few_3(out, weight, entries, across, values, vectors, lines, down, along)
        else:
            _scaled_few_4(out, weight, entries, across, values, vectors, lines, down, along)
        return
    while vectors > 0:
        now = min(vectors, _SCALED)
        left, to, of = lines, out, weight
        while left >= 3 and now in _THREE_LINES:
            if now == 6:
                _scaled_6_3(to, of, entries, across, values, number, down, along)
            elif now == 3:
                _scaled_3_3(to, of, entries, across, values, number, down, along)
            elif now == 8:
                _scaled_8_3(to, of, entries, across, values, number, down, along)
            elif now == 4:
                _scaled_4_3(to, of, entries, across, values, number, down, along)
            else:
                _scaled_2_3(to, of, entries, across, values, number, down, along)
            left, to, of = left - 3, to + 3 * down, of + 3 * along
        while left > 0:
            if now == 8:
                _scaled_8(to, of, entries, across, values, number, down, along)
            elif now == 6:
                _scaled_6(to, of, entries, across, values, number, down, along)
            elif now == 4:
                _scaled_4(to, of, entries, across, values, number, down, along)
            elif now == 3:
                _scaled_3(to, of, entries, across, values, number, down, along)
            elif now == 2:
                _scaled_2(to, of, entries, across, values, number, down, along)
            elif now == 1:
                _scaled_1(to, of, entries, across, values, number, down, along)
            elif now == 5:
                _scaled_5(to, of, entries, across, values, number, down, along)
            else:
                _scaled_7(to, of, entries, across, values, number, down, along)
            left, to, of = left - 1, to + down, of + along
        out, weight, vectors = out + 4 * LANES * now, weight + 4 * LANES * now, vectors - now
