"""Compiled kernels of what stands between synapses and neurons, and at the program's edges: one frame each."""

from __future__ import annotations

import numpy as np

from synfire.engines.cpu.tape import (
    CHANNELS,
    COUNTS,
    CURRENT,
    DIVISORS,
    FLOATS,
    FORMAT,
    HEIGHT,
    LINE_INDEX,
    LINES,
    MAXIMUM,
    MEAN,
    OTHER_FORMAT,
    OVER,
    PARAMETERS,
    PRODUCT,
    REDUCE,
    ROWS,
    RUN_INDEX,
    RUNS,
    SIZE,
    START,
    TARGET_FORMAT,
    TOTAL,
    WHOLE,
    WIDTH,
    kernel,
)
from synfire.engines.cpu.vectors import (
    LANES,
    copy,
    floats,
    integers,
    mean_bytes,
    mean_floats,
    most_bytes,
    most_floats,
    octets,
    sum_bytes,
    sum_floats,
    words,
)


@kernel
def turn(op, source, out):  # type: ignore[no-untyped-def]
    """`(height, width)` becomes `(width, height)`; bytes, float32 or int32 become bytes, float32 or int32."""
    rows, columns, form, to = op[HEIGHT], op[WIDTH], op[FORMAT], op[TARGET_FORMAT]
    size = rows * columns
    if form <= COUNTS and to <= COUNTS:
        small, small_out = octets(source, size), octets(out, size)
        if rows == 2:  # the polarities of an event camera; as two rows at a time it is vector code
            for c in range(columns):
                small_out[2 * c] = small[c]
                small_out[2 * c + 1] = small[columns + c]
            return
        for r in range(rows):
            for c in range(columns):
                small_out[c * rows + r] = small[r * columns + c]
    elif form <= COUNTS and to == WHOLE:
        small, whole_out = octets(source, size), integers(out, size)
        for r in range(rows):
            for c in range(columns):
                whole_out[c * rows + r] = small[r * columns + c]
    elif form <= COUNTS:
        small, large_out = octets(source, size), floats(out, size)
        for r in range(rows):
            for c in range(columns):
                large_out[c * rows + r] = np.float32(small[r * columns + c])
    elif form == FLOATS and to == WHOLE:
        large, whole_out = floats(source, size), integers(out, size)
        for r in range(rows):
            for c in range(columns):
                whole_out[c * rows + r] = np.int32(large[r * columns + c])
    elif form == WHOLE:
        whole, large_out = integers(source, size), floats(out, size)
        for r in range(rows):
            for c in range(columns):
                large_out[c * rows + r] = np.float32(whole[r * columns + c])
    else:
        large, large_out = floats(source, size), floats(out, size)
        for r in range(rows):
            for c in range(columns):
                large_out[c * rows + r] = large[r * columns + c]


@kernel
def part(op, source, out):  # type: ignore[no-untyped-def]
    """`CHANNELS` bytes of each of `HEIGHT` rows of `WIDTH`, from `START` on; sizes in bytes."""
    for r in range(op[HEIGHT]):
        copy(source + r * op[WIDTH] + op[START], out + r * op[CHANNELS], op[CHANNELS])


@kernel
def spread(op, source, out):  # type: ignore[no-untyped-def]
    """Each of `SIZE` numbers, `WIDTH` times."""
    size, times = op[SIZE], op[WIDTH]
    if op[FORMAT] == FLOATS:
        x, y = floats(source, size), floats(out, size * times)
        for k in range(size):
            for m in range(times):
                y[k * times + m] = x[k] + np.float32(0)
    else:
        small, small_out = octets(source, size), octets(out, size * times)
        for k in range(size):
            for m in range(times):
                small_out[k * times + m] = small[k]


@kernel
def pool(op, source, out):  # type: ignore[no-untyped-def]
    """Windows over `(height, width, channel)`; lines and runs are (byte offset, how many) for each output row and column."""
    channels, form, reduce = op[CHANNELS], op[FORMAT], op[REDUCE]
    lines, runs, divisors = words(op[LINES], 0), words(op[RUNS], 0), words(op[DIVISORS], 0)
    item, bytes_out = 4 if form == FLOATS else 1, 4 if op[TARGET_FORMAT] == FLOATS else 1
    down, along, at = op[LINE_INDEX], op[RUN_INDEX], 0
    for oy in range(op[ROWS]):
        for ox in range(op[SIZE]):
            first, rows, columns = source + lines[2 * oy] + runs[2 * ox], lines[2 * oy + 1], runs[2 * ox + 1]
            divisor = divisors[at] if reduce == MEAN else 1
            for c in range(0, channels, LANES):
                here, to = first + c * item, out + (at * channels + c) * bytes_out
                if form == FLOATS:
                    if reduce == MAXIMUM:
                        most_floats(here, rows, down, columns, along, to, 1)
                    elif reduce == TOTAL:
                        sum_floats(here, rows, down, columns, along, to, 1)
                    else:
                        mean_floats(here, rows, down, columns, along, to, divisor)
                elif reduce == MAXIMUM:
                    most_bytes(here, rows, down, columns, along, to, 1)
                elif reduce == TOTAL:
                    sum_bytes(here, rows, down, columns, along, to, 1)
                else:
                    mean_bytes(here, rows, down, columns, along, to, divisor)
            at += 1


@kernel
def add(op, source, other, out):  # type: ignore[no-untyped-def]
    """The sum of two frames: bytes and bytes as bytes, anything else as float32."""
    size = op[SIZE]
    if op[TARGET_FORMAT] != FLOATS:
        a, b, c = octets(source, size), octets(other, size), octets(out, size)
        for m in range(size):
            c[m] = a[m] + b[m]
        return
    total = floats(out, size)
    _widen(op[FORMAT], source, total)
    if op[OTHER_FORMAT] == FLOATS:
        x = floats(other, size)
        for m in range(size):
            total[m] += x[m]
    else:
        y = octets(other, size)
        for m in range(size):
            total[m] += np.float32(y[m])


@kernel
def _widen(form, source, out):  # type: ignore[no-untyped-def]
    if form == FLOATS:
        x = floats(source, out.size)
        for m in range(out.size):
            out[m] = x[m]
    else:
        y = octets(source, out.size)
        for m in range(out.size):
            out[m] = np.float32(y[m])


@kernel
def widen(op, source, out):  # type: ignore[no-untyped-def]
    """Spikes and counts as float32."""
    _widen(op[FORMAT], source, floats(out, op[SIZE]))


@kernel
def element(op, source, out):  # type: ignore[no-untyped-def]
    """Each number times its parameter, or plus it; or whether it is at least that."""
    size, reduce = op[SIZE], op[REDUCE]
    own = floats(op[PARAMETERS], size)
    if reduce == OVER:
        x, over = floats(op[CURRENT], size), octets(out, size)
        _widen(op[FORMAT], source, x)
        for m in range(size):
            over[m] = x[m] >= own[m]
        return
    y = floats(out, size)
    _widen(op[FORMAT], source, y)
    if reduce == PRODUCT:
        for m in range(size):
            y[m] *= own[m]
    else:
        for m in range(size):
            y[m] += own[m]


@kernel
def both(op, source, other, out):  # type: ignore[no-untyped-def]
    """Spikes that two frames `(height, channel)` share; the other may have one row for all."""
    channels = op[CHANNELS]
    for r in range(op[HEIGHT]):
        a, c = octets(source + r * channels, channels), octets(out + r * channels, channels)
        b = octets(other + r * op[WIDTH], channels)
        for m in range(channels):
            c[m] = a[m] & b[m]


@kernel
def total(op, source, out):  # type: ignore[no-untyped-def]
    """The sum over the rows of `(height, channel)` in ascending order, divided by the height for a mean; float32."""
    channels, rows = op[CHANNELS], op[HEIGHT]
    sums = floats(out, channels)
    for m in range(channels):
        sums[m] = np.float32(0)
    for r in range(rows):
        if op[FORMAT] == FLOATS:
            x = floats(source + r * channels * 4, channels)
            for m in range(channels):
                sums[m] += x[m]
        else:
            y = octets(source + r * channels, channels)
            for m in range(channels):
                sums[m] += np.float32(y[m])
    if op[REDUCE] == MEAN:
        count = np.float32(rows)
        for m in range(channels):
            sums[m] /= count


@kernel
def attend(op, query, key, value, memory, scale, out):  # type: ignore[no-untyped-def]
    """Q (Kᵀ V) · scale of spikes `(token, channel)`, head by head.

    Sums of whole numbers, exact in float32 in any order, so the association is free: Kᵀ V takes a row of V for each spike
    of K, and Q a row of that for each of its own. `memory` holds Kᵀ V of one head.
    """
    tokens, channels, size = op[HEIGHT], op[CHANNELS], op[WIDTH]
    product = floats(memory, size * size)
    for head in range(0, channels, size):
        for m in range(size * size):
            product[m] = np.float32(0)
        for n in range(tokens):
            k, v = octets(key + n * channels + head, size), octets(value + n * channels + head, size)
            for d in range(size):
                if k[d]:
                    for m in range(size):
                        product[d * size + m] += np.float32(v[m])
        for n in range(tokens):
            q, y = octets(query + n * channels + head, size), floats(out + (n * channels + head) * 4, size)
            for m in range(size):
                y[m] = np.float32(0)
            for d in range(size):
                if q[d]:
                    for m in range(size):
                        y[m] += product[d * size + m]
            for m in range(size):
                y[m] *= scale
