"""Real weights as the few bits that a core stores, with thresholds on the same scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.words import STATE_BITS, WEIGHT_BITS
from synfire.ops import Array

HIGHEST_THRESHOLD = 2 ** (STATE_BITS - 2)
"""The highest integer threshold: half of the membrane's range stays free above it."""

_FRACTIONS = np.linspace(1.0, 0.25, 31)
"""Shares of a channel's largest weight that are tried as the largest value stored."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """weights ≈ codes · scale and thresholds ≈ levels · scale, channel by channel.

    `codes` has the shape of the weights, int16; `scale` `(channel,)`; `levels` the shape of the thresholds, broadcast to channels, int16
    (None if none were given): an integer membrane V fires at V ≥ level exactly where V · scale reaches the real threshold.
    `error` `(channel,)` is √(Σ (weight − code · scale)² / Σ weight²), 0 for a channel of zeros.
    """

    bits: int
    codes: Array
    scale: Array
    levels: Array | None
    error: Array

    def restored(self, axis: int = 0) -> Array:
        """The weights that the codes stand for."""
        shape = [1] * self.codes.ndim
        shape[axis] = -1
        restored: Array = self.codes * self.scale.reshape(shape)
        return restored


def quantise(
    weights: Array,
    bits: int = 8,
    thresholds: Array | float | None = None,
    axis: int = 0,
    strict: bool = False,
    shared: bool = False,
) -> Quantised:
    """Symmetric codes of 2, 4, 6, 8 or 16 bits, one scale per channel of `axis`, or one for all when `shared`.

    A channel's scale is the one with the least squared error among those that store 100 % down to 25 % of its largest
    weight without clipping; then it is raised, if need be, until the channel's highest threshold is at most 16,384. Thresholds are one
    number, or one per channel; `strict` says that neurons fire above them, not at them.

    Raises `UserError` for other bits, weights that are not finite, or thresholds that fit no channel.
    """
    w = np.moveaxis(np.asarray(weights, np.float64), axis, 0)
    _require(w, bits)
    flat = w.reshape(len(w), -1)
    rows = flat.reshape(1, -1) if shared else flat
    limits = _thresholds(thresholds, len(w))
    least = np.abs(limits if limits is not None else np.zeros(len(w))) / HIGHEST_THRESHOLD
    scale = np.broadcast_to(best_scales(rows, bits, least.max(keepdims=True) if shared else least), len(w)).copy()
    codes = _codes(flat, scale[:, None], 2 ** (bits - 1) - 1)
    return Quantised(
        bits=bits,
        codes=np.moveaxis(codes.reshape(w.shape), 0, axis).astype(np.int16),
        scale=scale,
        levels=None if limits is None else levels(limits / scale, strict),
        error=_error(flat, codes * scale[:, None]),
    )


def best_scales(rows: Array, bits: int, least: Array) -> Array:
    """The scale of each row of weights that leaves the least squared error, at least `least`."""
    most = 2 ** (bits - 1) - 1
    top = np.abs(rows).max(axis=1, initial=0.0)
    best, lowest = np.ones(len(rows)), np.full(len(rows), np.inf)
    for fraction in _FRACTIONS:
        scale = np.maximum(np.where(top > 0, top * fraction / most, 1.0 / HIGHEST_THRESHOLD), least)
        error = ((rows - _codes(rows, scale[:, None], most) * scale[:, None]) ** 2).sum(axis=1)
        better = error < lowest
        best, lowest = np.where(better, scale, best), np.where(better, error, lowest)
    return best


def _codes(rows: Array, scale: Array, most: int) -> Array:
    codes: Array = np.clip(np.rint(rows / scale), -most, most)
    return codes


def levels(thresholds: Array, strict: bool) -> Array:
    """The least whole number that reaches, or with `strict` exceeds, each threshold; within a hair of it counts as on it."""
    near = np.rint(thresholds)
    exact = np.where(np.abs(thresholds - near) <= 1e-9 * np.maximum(np.abs(near), 1), near, thresholds)
    least = np.floor(exact) + 1 if strict else np.ceil(exact)
    return least.astype(np.int16)


def _error(weights: Array, restored: Array) -> Array:
    whole = (weights**2).sum(axis=1)
    lost = ((weights - restored) ** 2).sum(axis=1)
    error: Array = np.sqrt(np.divide(lost, whole, out=np.zeros_like(whole), where=whole > 0))
    return error


def _thresholds(thresholds: Array | float | None, channels: int) -> Array | None:
    if thresholds is None:
        return None
    given = np.asarray(thresholds, np.float64)
    if given.shape not in ((), (1,), (channels,)):
        raise UserError(f"thresholds are {given.shape} for {channels} channels; give one, or one per channel")
    if not np.all(np.isfinite(given)):
        raise UserError("a threshold is not finite; a neuron that never fires has the level 32767")
    return np.broadcast_to(given, channels)


def _require(weights: Array, bits: int) -> None:
    if bits not in WEIGHT_BITS:
        raise UserError(f"weights of {bits} bits; a core stores {', '.join(map(str, WEIGHT_BITS))}: choose one")
    if not np.all(np.isfinite(weights)):
        raise UserError("a weight is not finite; train the model again, or repair its file")
