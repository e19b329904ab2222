"""Where the numbers of an array are that are not zero: as marks and as gap lists, compiled.

Marks are one bit a number, little-endian, in whole words of 64: what a bitmap of spikes is. A gap list says, in ascending
order, how many zeros lie before each number that is not zero: unsigned integers of 8 or 16 bits, little-endian, the highest
of which means "that many zeros, and go on". All arrays are passed as their bytes, flat: so one compiled kernel serves every
dtype and alignment.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core.extending import intrinsic

from synfire.base.compiled import compiled, inlined, load, trailing_zeros
from synfire.ops import Array

_VECTOR_BITS = 512


def _compared(sign: str, bits: int, limit: int) -> Any:
    """(address): bit k says whether the k-th of the numbers in the 64 bytes there is `sign` than `limit`.

    LLVM vector code, since plain numba compares number by number.
    """
    lanes = _VECTOR_BITS // bits
    vector = ir.VectorType(ir.IntType(bits), lanes)

    def compare(context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            numbers = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)
            found = builder.icmp_unsigned(sign, numbers, ir.Constant(vector, [limit] * lanes))
            mask = builder.bitcast(found, ir.IntType(lanes))
            return mask if lanes == 64 else builder.zext(mask, ir.IntType(64))

        return numba.uint64(numba.int64), codegen

    return intrinsic(compare)


_bytes_found, _bytes_beyond_one = _compared("!=", 8, 0), _compared(">", 8, 1)
_pairs_found, _fours_found, _eights_found = (_compared("!=", bits, 0) for bits in (16, 32, 64))


def _spread(context: Any, word: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), 64))
        spikes = builder.zext(bits, ir.VectorType(ir.IntType(8), 64))
        builder.store(spikes, builder.inttoptr(args[1], spikes.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return numba.void(numba.uint64, numba.int64), codegen


_spread_out: Any = intrinsic(_spread)
"""(word, address): write the 64 bits of a word as 64 bytes."""


def _count_ones(context: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return numba.int64(numba.uint64), codegen


_ones: Any = intrinsic(_count_ones)


_BLOCK = 512
"""So many bytes are marked at a time: eight vectors, whose marks are one."""


def _block_marked(context: Any, address: Any, words: Any) -> Any:
    """(address, words): write the marks of the `_BLOCK` bytes at `address` to `words`; how many bytes are not zero, and, as a
    higher number than that can be, whether one is above 1."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64, vector = ir.IntType(64), ir.VectorType(ir.IntType(8), 64)
        eight = ir.VectorType(i64, 8)
        zero, one = (ir.Constant(vector, [n] * 64) for n in (0, 1))
        found, seen, count = ir.Constant(eight, ir.Undefined), zero, ir.Constant(i64, 0)
        for k in range(8):
            at = builder.add(args[0], ir.Constant(i64, 64 * k))
            numbers = builder.load(builder.inttoptr(at, vector.as_pointer()), align=1)
            word = builder.bitcast(builder.icmp_unsigned("!=", numbers, zero), i64)
            found = builder.insert_element(found, word, ir.Constant(ir.IntType(32), k))
            count = builder.add(count, builder.ctpop(word))
            seen = builder.or_(seen, numbers)
        builder.store(found, builder.inttoptr(args[1], eight.as_pointer()), align=1)
        beyond = builder.bitcast(builder.icmp_unsigned(">", seen, one), i64)
        flag = builder.zext(builder.icmp_unsigned("!=", beyond, ir.Constant(i64, 0)), i64)
        return builder.add(count, builder.shl(flag, ir.Constant(i64, 32)))

    return numba.int64(numba.int64, numba.int64), codegen


_mark_block: Any = intrinsic(_block_marked)


@inlined
def _marks_at(address: int, itemsize: int) -> np.uint64:
    """The marks of the 64 numbers that begin at `address`."""
    if itemsize == 1:
        return _bytes_found(address)
    word = np.uint64(0)
    if itemsize == 2:
        for k in range(2):
            word |= _pairs_found(address + 64 * k) << np.uint64(32 * k)
    elif itemsize == 4:
        for k in range(4):
            word |= _fours_found(address + 64 * k) << np.uint64(16 * k)
    else:
        for k in range(8):
            word |= _eights_found(address + 64 * k) << np.uint64(8 * k)
    return word


@inlined
def _last_marks(data: Array, itemsize: int, first: int) -> np.uint64:
    """The marks of the numbers from the `first` on, of which there are fewer than 64."""
    word = np.uint64(0)
    for k in range(first * itemsize, data.size):
        if data[k]:
            word |= np.uint64(1) << np.uint64(k // itemsize - first)
    return word


@compiled
def mark(data: Array, itemsize: int, marks: Array) -> tuple[int, bool]:
    """Fill `marks`, whole words for the numbers of `itemsize` bytes in `data`; return how many are not zero, and whether all
    bytes are 0 or 1, as spikes in uint8 are."""
    words = marks.view(np.uint64)
    size = data.size // itemsize
    count = np.int64(0)
    beyond = np.uint64(0)
    blocks = size // _BLOCK if itemsize == 1 else 0
    for b in range(blocks):
        found = _mark_block(data.ctypes.data + _BLOCK * b, marks.ctypes.data + 64 * b)
        count += found & 0xFFFF
        beyond |= np.uint64(found >> 32)
    for w in range(8 * blocks, size // 64):
        address = data.ctypes.data + 64 * w * itemsize
        word = _marks_at(address, itemsize)
        if itemsize == 1:
            beyond |= _bytes_beyond_one(address)
        words[w] = word
        count += _ones(word)
    if size % 64:
        first = size // 64 * 64
        word = _last_marks(data, itemsize, first)
        for k in range(first * itemsize, data.size):
            beyond |= np.uint64(data[k] > 1)
        words[size // 64] = word
        count += _ones(word)
    return count, beyond == np.uint64(0)


@compiled
def unmark(marks: Array, spikes: Array) -> None:
    """Fill `spikes`, bytes, with 1 where `marks`, which has as many bits or a few more, is set, and with 0 elsewhere."""
    words = marks[: marks.size // 8 * 8].view(np.uint64)
    whole = min(words.size, spikes.size // 64)
    for w in range(whole):
        _spread_out(words[w], spikes.ctypes.data + 64 * w)
    for k in range(64 * whole, spikes.size):
        spikes[k] = marks[k // 8] >> (k % 8) & 1


@compiled
def gap_bytes(marks: Array) -> tuple[int, int]:
    """The length in bytes of the gap list of what is marked, at 8 and at 16 bits a gap."""
    words = marks.view(np.uint64)
    count = more8 = more16 = before = np.int64(0)
    for w in range(words.size):
        word = words[w]
        while word:
            gap = 64 * w + trailing_zeros(word) - before
            word &= word - np.uint64(1)
            before += gap + 1
            count += 1
            more8 += gap // 255
            more16 += gap // 65535
    return count + more8, 2 * (count + more16)


@compiled
def write_gaps(marks: Array, width: int, gaps: Array) -> int:
    """Fill `gaps` with the gap list of what is marked, `width` bytes a gap, and return its length; −1 where it is longer."""
    words = marks.view(np.uint64)
    more = (1 << 8 * width) - 1
    end = before = np.int64(0)
    for w in range(words.size):
        word = words[w]
        while word:
            gap = 64 * w + trailing_zeros(word) - before
            word &= word - np.uint64(1)
            before += gap + 1
            if end + width * (1 + gap // more) > gaps.size:
                return -1
            while gap >= more:
                gaps[end : end + width] = 255
                gap -= more
                end += width
            gaps[end] = gap & 255
            if width == 2:
                gaps[end + 1] = gap >> 8
            end += width
    return end


@inlined
def _gap(gaps: Array, at: int, width: int) -> int:
    return np.int64(gaps[at]) if width == 1 else np.int64(gaps[at]) | np.int64(gaps[at + 1]) << 8


@compiled
def read_gaps(gaps: Array, width: int, size: int, indices: Array) -> int:
    """Fill `indices` with the ascending places that a gap list names; return how many there are.

    −1 for a list that is cut off in a gap, names a place beyond `size` or more places than `indices` holds.
    """
    more = (1 << 8 * width) - 1
    at = count = np.int64(0)
    within = False
    for k in range(0, gaps.size, width):
        gap = _gap(gaps, k, width)
        at += gap
        within = gap == more
        if within:
            continue
        if at >= size or count >= indices.size:
            return -1
        indices[count] = at
        count += 1
        at += 1
    return -1 if within else count


@compiled
def place_spikes(gaps: Array, width: int, spikes: Array) -> int:
    """Set to 1 the places of `spikes`, which is all 0, that a gap list names; return how many there are, −1 as `read_gaps`."""
    more = (1 << 8 * width) - 1
    at = count = np.int64(0)
    within = False
    for k in range(0, gaps.size, width):
        gap = _gap(gaps, k, width)
        at += gap
        within = gap == more
        if within:
            continue
        if at >= spikes.size:
            return -1
        spikes[at] = 1
        count += 1
        at += 1
    return -1 if within else count


def warm() -> None:
    """Compile or load the kernels, which the first frame would otherwise wait for."""
    load()
    marks, spikes = np.zeros(8, np.uint8), np.zeros(1, np.uint8)
    nothing = np.zeros(0, np.uint8)
    nothing.flags.writeable = False
    mark(nothing, 1, marks)
    gap_bytes(marks)
    write_gaps(marks, 1, spikes)
    read_gaps(nothing, 1, 0, np.zeros(0, np.int64))
    place_spikes(nothing, 1, spikes)
    unmark(nothing, np.zeros(0, np.uint8))
