"""Weights as bytes, quantised for each output by itself, or as bfloat16; laid out for their kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synfire.engines.cpu.narrow_kernels import LARGEST
from synfire.engines.cpu.reach import Axis, Reach, aligned, reach
from synfire.ops import Array
from synfire.ops.sharing import shared


def quantised(weight: Array) -> tuple[Array, Array]:
    """Whole numbers up to 127 like `weight` `(output, …)`, and a scale for each output: the largest weight becomes ±127.

    An output without weights has a scale of 1.
    """
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), initial=0.0)
    scale = np.where(largest > 0, largest / np.float32(LARGEST), np.float32(1)).astype(np.float32)
    return np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.float32), scale


def narrow_reach(weight: Array, bias: Array, down: Axis, along: Axis) -> tuple[Reach, Array, Array]:
    """The reach of the weights as bytes, and for each number of a row its scale and its bias. Currents begin with 0."""
    whole, scale = quantised(weight)
    wide = reach(whole, np.zeros_like(bias), down, along)
    found = _kept(wide, wide.weight.astype(np.int8))
    return found, shared(np.resize(scale, wide.pitch)), shared(np.resize(bias, wide.pitch).astype(np.float32))


def half_reach(weight: Array, bias: Array, down: Axis, along: Axis, tile: int = 0) -> Reach:
    """The reach of the weights as bfloat16, in tiles as `reach` has them."""
    wide = reach(weight, bias, down, along, tile)
    return _kept(wide, halves(wide.weight))


def halves(weight: Array) -> Array:
    """The nearest bfloat16 of float32 weights, of two equally near the even one, as their bits (uint16)."""
    bits = np.ascontiguousarray(weight, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def rounded(weight: Array) -> Array:
    """The weights as they are after they were bfloat16, in float32."""
    return (halves(weight).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _kept(wide: Reach, weight: Array) -> Reach:
    """The reach with its weights in smaller numbers: their offsets, in bytes, shrink with them."""
    laid = aligned(weight.shape, weight.dtype.type)
    laid[...] = weight
    lines, runs, shrink = wide.lines.copy(), wide.runs.copy(), wide.weight.itemsize // weight.itemsize
    lines[:, 1] //= shrink
    runs[:, 1] //= shrink
    return replace(wide, weight=shared(laid, "aligned"), lines=shared(lines), runs=shared(runs))
