"""Gap lists, compiled: how many zeros lie before each number that is not zero.

A gap is one unsigned integer of 8 or 16 bits, little-endian. The highest number of its width means "that many zeros, and
go on". All arrays are passed as their bytes, flat: so one compiled kernel serves every dtype and alignment.
"""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import compiled, inlined, trailing_zeros
from synfire.ops import Array


@inlined
def _word(data: Array, at: int) -> np.uint64:
    """The 8 bytes from `at` on, or as many as there are, as one little-endian number."""
    word = np.uint64(0)
    for k in range(min(8, data.size - at)):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@inlined
def _layout(itemsize: int) -> tuple[int, int, np.uint64]:
    """How many numbers a word holds, log2 of a number's bits, and a mask of its bits."""
    shift = 3 + (itemsize > 1) + (itemsize > 2) + (itemsize > 4)
    return 8 // itemsize, shift, np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * itemsize)


@compiled
def survey(data: Array, itemsize: int) -> tuple[int, int, int, bool]:
    """Of the numbers of `itemsize` bytes in `data`: how many are not zero, the bytes of their gap list at 8 and at 16 bits,
    and whether none has a bit set beyond the lowest of each byte, as spikes in uint8."""
    words = data[: data.size // 8 * 8].view(np.uint64)
    each, shift, mask = _layout(itemsize)
    count = more8 = more16 = before = np.int64(0)
    every = np.uint64(0)
    for w in range((data.size + 7) // 8):
        word = words[w] if w < words.size else _word(data, 8 * w)
        every |= word
        while word:
            place = trailing_zeros(word) >> shift
            word &= ~(mask << np.uint64(place << shift))
            gap = w * each + place - before
            before += gap + 1
            count += 1
            if gap >= 255:
                more8 += gap // 255
                more16 += gap // 65535
    return count, count + more8, 2 * (count + more16), every & np.uint64(0xFEFEFEFEFEFEFEFE) == np.uint64(0)


@compiled
def write_gaps(data: Array, itemsize: int, width: int, gaps: Array) -> None:
    """Fill `gaps`, of the length in bytes that `survey` found for gaps of `width` bytes."""
    words = data[: data.size // 8 * 8].view(np.uint64)
    each, shift, mask = _layout(itemsize)
    more = (1 << 8 * width) - 1
    end = before = np.int64(0)
    for w in range((data.size + 7) // 8):
        word = words[w] if w < words.size else _word(data, 8 * w)
        while word:
            place = trailing_zeros(word) >> shift
            word &= ~(mask << np.uint64(place << shift))
            gap = w * each + place - before
            before += gap + 1
            while gap >= more:
                gaps[end : end + width] = 255
                gap -= more
                end += width
            gaps[end] = gap & 255
            if width == 2:
                gaps[end + 1] = gap >> 8
            end += width


@compiled
def read_gaps(gaps: Array, width: int, size: int, indices: Array) -> int:
    """Fill `indices` with the ascending places that a gap list names; return how many there are.

    −1 for a list that is cut off in a gap, names a place beyond `size` or more places than `indices` holds.
    """
    more = (1 << 8 * width) - 1
    at = count = np.int64(0)
    within = False
    for k in range(0, gaps.size, width):
        gap = np.int64(gaps[k]) if width == 1 else np.int64(gaps[k]) | np.int64(gaps[k + 1]) << 8
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


def warm() -> None:
    """Compile or load the kernels, which the first frame would otherwise wait for."""
    nothing = np.zeros(0, np.uint8)
    nothing.flags.writeable = False
    survey(nothing, 1)
    write_gaps(nothing, 1, 1, np.zeros(0, np.uint8))
    read_gaps(nothing, 1, 0, np.zeros(0, np.int64))
