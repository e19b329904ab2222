"""Sums, means and maxima over windows and axes, one lane an output, in ascending place."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["total"])
def window(
    x, counts, out, total, height, width, rows, columns,
    kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x,
    REDUCE: tl.constexpr, WHOLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Reduces the windows of planes `(plane, height, width)`: "max", "sum", or "mean" by `counts` `(rows, columns)`.

    `WHOLE` numbers are spikes or counts. Padding adds nothing and never wins; a zero is positive. Grid (output blocks,).
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask, place = at < total, at % (rows * columns)
    plane = x + at // (rows * columns) * height * width
    if WHOLE:
        found = tl.zeros((BLOCK,), tl.int32)
    elif REDUCE == "max":
        found = tl.full((BLOCK,), float("-inf"), tl.float32)
    else:
        found = tl.zeros((BLOCK,), tl.float32)
    for r in range(kernel_y):
        y = (place // columns) * stride_y + r * dilation_y - pad_y
        for c in range(kernel_x):
            z = (place % columns) * stride_x + c * dilation_x - pad_x
            inside = mask & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            seen = tl.load(plane + y * width + z, mask=inside, other=0).to(found.dtype)
            if REDUCE == "max":
                found = tl.where(inside & ((seen > found) | (seen != seen)), seen, found)
            else:
                found += seen
    if REDUCE == "mean":
        found = tl.div_rn(found.to(tl.float32), tl.load(counts + place, mask=mask, other=1))
    elif REDUCE == "max":
        found += 0
    tl.store(out + at, found.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["total"])
def along(x, out, total, length, inner, divisor, REDUCE: tl.constexpr, BLOCK: tl.constexpr):
    """The "sum" of `x` `(outer, length, inner)` over its middle axis, or its "mean" by `divisor`; grid (output blocks,)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < total
    first = x + at // inner * length * inner + at % inner
    if x.dtype.element_ty.is_floating():
        found = tl.zeros((BLOCK,), tl.float32)
    else:
        found = tl.zeros((BLOCK,), tl.int32)
    for _ in range(length):
        found += tl.load(first, mask=mask, other=0).to(found.dtype)
        first += inner
    if REDUCE == "mean":
        found = tl.div_rn(found.to(tl.float32), tl.full((BLOCK,), 0.0, tl.float32) + divisor)
    tl.store(out + at, found.to(out.dtype.element_ty), mask=mask)


@triton.jit
def joined(h, scale, indptr, indices, out, nodes, features, BLOCK: tl.constexpr):
    """One hop of `GraphAggregation` in float64: own row, then neighbours as stored; grid (node, feature blocks, sample)."""
    node = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask, sample = f < features, tl.program_id(2).to(tl.int64) * nodes * features
    factor = tl.load(scale + node)
    total = tl.load(h + sample + node * features + f, mask=mask, other=0) * factor
    for j in range(tl.load(indptr + node), tl.load(indptr + node + 1)):
        neighbour = tl.load(indices + j)
        theirs = tl.load(h + sample + neighbour * features + f, mask=mask, other=0)
        total = total + theirs * tl.load(scale + neighbour)
    tl.store(out + sample + node * features + f, total * factor, mask=mask)
