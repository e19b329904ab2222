"""Synapses and matrix products: one lane an output, inputs in ascending order, each product rounded before it is added.

`SPIKES` says that the left factor is 0 or 1: its products are exact, so one fused instruction rounds as two would.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _added(total, x, w, SPIKES: tl.constexpr, shape: tl.constexpr):
    if SPIKES:
        return tl.fma(tl.broadcast_to(x, shape), tl.broadcast_to(w, shape), total)
    else:
        return total + x * w


@triton.jit(do_not_specialize=["rows"])
def product(
    a, b, start, out, rows, columns, inner, a_row, a_inner, b_inner, b_column, a_matrix, b_matrix,
    SPIKES: tl.constexpr, STARTED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out[m, r, c] = start[c] + Σ_k a[m, r, k] · b[m, k, c], for the strides given; grid (row blocks, column blocks, m)."""
    number = out.dtype.element_ty
    matrix = tl.program_id(2).to(tl.int64)
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_rows, in_columns = r < rows, c < columns
    total = tl.zeros((BLOCK_R, BLOCK_C), number)
    if STARTED:
        total += tl.load(start + c, mask=in_columns, other=0)[None, :]
    from_a, from_b = a + matrix * a_matrix + r * a_row, b + matrix * b_matrix + c * b_column
    for _ in range(inner):
        x = tl.load(from_a, mask=in_rows, other=0).to(number)[:, None]
        w = tl.load(from_b, mask=in_columns, other=0).to(number)[None, :]
        total = _added(total, x, w, SPIKES, (BLOCK_R, BLOCK_C))
        from_a, from_b = from_a + a_inner, from_b + b_inner
    into = out + (matrix * rows + r[:, None]) * columns + c[None, :]
    tl.store(into, total, mask=in_rows[:, None] & in_columns[None, :])


@triton.jit
def list_active(x, active, count, inner, BLOCK: tl.constexpr):
    """The ascending places of what is not 0 in each row of `x` `(rows, inner)`, and how many there are; grid (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    found = 0
    for start in range(0, inner, BLOCK):
        k = start + tl.arange(0, BLOCK)
        here = (tl.load(x + row * inner + k, mask=k < inner, other=0) != 0).to(tl.int32)
        tl.store(active + row * inner + found + tl.cumsum(here, 0) - 1, k, mask=here != 0)
        found += tl.sum(here, 0)
    tl.store(count + row, found)


@triton.jit
def listed_product(x, active, count, weight, bias, out, inner, columns, BLOCK: tl.constexpr):
    """out[r, c] = bias[c] + Σ_k x[r, k] · weight[k, c] over the listed k of each row; grid (rows, column blocks)."""
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = c < columns
    total = tl.load(bias + c, mask=mask, other=0)
    for j in range(tl.load(count + row)):
        k = tl.load(active + row * inner + j).to(tl.int64)
        total = total + tl.load(x + row * inner + k).to(tl.float32) * tl.load(
            weight + k * columns + c, mask=mask, other=0
        )
    tl.store(out + row * columns + c, total, mask=mask)


@triton.jit
def convolution(
    x, weight, bias, out, height, width, rows, columns, channels, outputs,
    kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, groups,
    SPIKES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """A convolution of images `(n, channel, height, width)`; grid (n, position blocks, groups · output blocks).

    `weight` is `(kernel row, kernel column, channel of the group, output)`; `channels` and `outputs` are those of a group.
    """
    n = tl.program_id(0).to(tl.int64)
    o_blocks = tl.cdiv(outputs, BLOCK_O)
    group = tl.program_id(2) // o_blocks
    o = (tl.program_id(2) % o_blocks) * BLOCK_O + tl.arange(0, BLOCK_O)
    p = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    in_outputs, in_positions = o < outputs, p < rows * columns
    o += group * outputs
    total = tl.zeros((BLOCK_O, BLOCK_P), tl.float32) + tl.load(bias + o, mask=in_outputs, other=0)[:, None]
    image, plane = x + (n * groups + group) * channels * height * width, height * width
    for r in range(kernel_y):
        y = (p // columns) * stride_y + r * dilation_y - pad_y
        for c in range(kernel_x):
            z = (p % columns) * stride_x + c * dilation_x - pad_x
            inside = in_positions & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            pixel, arm = image + y * width + z, weight + (r * kernel_x + c) * channels * groups * outputs + o
            for _ in range(channels):
                seen = tl.load(pixel, mask=inside, other=0).to(tl.float32)[None, :]
                w = tl.load(arm, mask=in_outputs, other=0)[:, None]
                total = _added(total, seen, w, SPIKES, (BLOCK_O, BLOCK_P))
                pixel, arm = pixel + plane, arm + groups * outputs
    into = out + (n * groups * outputs + o[:, None]) * (rows * columns) + p[None, :]
    tl.store(into, total, mask=in_outputs[:, None] & in_positions[None, :])
