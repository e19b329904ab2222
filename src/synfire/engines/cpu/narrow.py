"""Weights as bytes: quantised for each output by itself, and laid out for their kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synfire.engines.cpu.narrow_kernels import LARGEST
from synfire.engines.cpu.reach import Axis, Reach, aligned, reach
from synfire.ops import Array
from synfire.ops.sharing import shared

_SHRINK = 4
"""How many times smaller a byte is than a float32."""


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
    laid = aligned(wide.weight.shape, np.int8)
    laid[...] = wide.weight
    lines, runs = wide.lines.copy(), wide.runs.copy()
    lines[:, 1] //= _SHRINK
    runs[:, 1] //= _SHRINK
    found = replace(wide, weight=shared(laid, "aligned"), lines=shared(lines), runs=shared(runs))
    return found, shared(np.resize(scale, wide.pitch)), shared(np.resize(bias, wide.pitch).astype(np.float32))
