"""Real numbers become whole ones: every population's weights, biases and thresholds on scales of its own.

Channel c of a population gets one factor, by which its weights from everywhere, its bias and its threshold are multiplied
before they are rounded: the inverse of the scale that `quantise` finds for its weights, smaller where the threshold or a
bias would not fit. A readout's is so small that no sum of its weights can leave 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.ir import (
    CLOCK,
    READOUT,
    Convolution,
    Form,
    Full,
    Network,
    Population,
    Projection,
    Sparse,
)
from synfire.devices.darwin3.quantise import HIGHEST_THRESHOLD, best_scales, levels
from synfire.ops import Array

MOST_STATE = 2**15 - 1

MOST_BIAS_ROWS = 32
"""A bias larger than a weight is sent as several rows; beyond these the channel's factor gets smaller."""

PLENTY = 8
"""From so many bits on the largest weight sets the scale; below, clipping a few weights may cost less than coarse steps."""


@dataclass(frozen=True, eq=False)
class Whole:
    """A network of whole numbers, and the factors by which its channels were multiplied: `(population.scales,)` each."""

    network: Network
    scales: Mapping[str, Array]
    bits: int


def whole(network: Network, bits: int) -> Whole:
    """The network with every weight in `bits` bits. Raises `UserError` for logic whose weights are not whole."""
    scales = {name: _scales(each, network.arriving(name), bits) for name, each in network.populations.items()}
    populations = {name: _rounded(each, scales[name]) for name, each in network.populations.items()}
    projections = tuple(
        _in_whole(each, network.populations[each.target], scales[each.target], bits) for each in network.projections
    )
    return Whole(replace(network, populations=populations, projections=projections), scales, bits)


def most_weight(bits: int) -> int:
    """The largest weight; its negative is the smallest in use, so that a sign never changes a size."""
    return (1 << bits - 1) - 1


def _scales(population: Population, arriving: tuple[Projection, ...], bits: int) -> Array:
    if population.dynamics.whole:
        return np.ones(population.scales)
    sizes, sums, biases = (np.zeros(population.scales) for _ in range(3))
    for each in arriving:
        largest, total = _by_channel(each.form, population)
        sums += total * _most_at_once(each)
        if each.source == CLOCK:
            biases += total
        else:
            sizes = np.maximum(sizes, largest)
    highest = _per_channel(np.broadcast_to(population.thresholds, population.size), population).max(axis=1)
    readout = population.dynamics == READOUT
    room = sums / MOST_STATE if readout else highest / HIGHEST_THRESHOLD
    least = np.maximum(room, biases / (most_weight(bits) * MOST_BIAS_ROWS))
    rows = _rows(population, arriving)
    if rows is not None and bits < PLENTY:
        scale = best_scales(rows, bits, least)
    else:
        scale = np.maximum(sizes / most_weight(bits), least)
    return np.divide(1.0, scale, out=np.ones_like(scale), where=scale > 0)


def _most_at_once(each: Projection) -> int:
    """How many spikes may arrive at one input of a form in a step: those of a pooling window do."""
    return int(np.bincount(each.place[each.place >= 0]).max(initial=1))


def _rows(population: Population, arriving: tuple[Projection, ...]) -> Array | None:
    """Every weight into each channel, `(channel, weight)`; None where they do not lie so."""
    forms = [each.form for each in arriving if each.source != CLOCK]
    plain = [form for form in forms if not isinstance(form, Sparse) and len(form.weight) == population.scales]
    if not plain or len(plain) < len(forms):
        return None
    return np.concatenate([form.weight.reshape(population.scales, -1) for form in plain], axis=1)


def _by_channel(form: Form, population: Population) -> tuple[Array, Array]:
    """The largest weight into each channel, and the most that a neuron of it can be given in a step."""
    if isinstance(form, Sparse):
        size = np.abs(form.rows.weights)
        largest, total = np.zeros(form.rows.width), np.zeros(form.rows.width)
        np.maximum.at(largest, form.rows.targets, size)
        np.add.at(total, form.rows.targets, size)
    else:
        size = np.abs(form.weight).reshape(len(form.weight), -1)
        largest, total = size.max(axis=1, initial=0), size.sum(axis=1)
        if isinstance(form, Convolution):
            repeated = population.scales // len(largest)
            return np.repeat(largest, repeated), np.repeat(total, repeated)
    return _per_channel(largest, population).max(axis=1), _per_channel(total, population).max(axis=1)


def _per_channel(elements: Array, population: Population) -> Array:
    return elements.reshape(population.scales, -1)


def _rounded(population: Population, scales: Array) -> Population:
    real = _per_channel(np.broadcast_to(population.thresholds, population.size), population) * scales[:, None]
    fitting = np.minimum(real, MOST_STATE - 1)
    thresholds = np.where(np.isfinite(real), levels(fitting, population.dynamics.strict), MOST_STATE)
    return replace(population, thresholds=np.maximum(thresholds, 1).astype(np.int64).ravel())


def _in_whole(each: Projection, population: Population, scales: Array, bits: int) -> Projection:
    form, per_element = each.form, np.repeat(scales, population.size // population.scales)
    if each.source == CLOCK and isinstance(form, Full):
        weight = _bias_rows(np.rint(form.weight[:, 0] * per_element), most_weight(bits))
        return replace(each, place=np.arange(weight.shape[1]), form=Full(weight, weight.shape[1]))
    if isinstance(form, Sparse):
        weights = _fitting(form.rows.weights * per_element[form.rows.targets], bits, each, population)
        return replace(each, form=Sparse(form.rows.transformed(weights)))
    if isinstance(form, Full):
        return replace(
            each, form=Full(_fitting(form.weight * per_element[:, None], bits, each, population), form.pixels)
        )
    channels = scales[
        :: len(scales) // len(form.weight)
    ]  # maps have one each, and vectors that a kernel reaches are whole
    weight = _fitting(form.weight * channels[:, None, None, None], bits, each, population)
    return replace(each, form=replace(form, weight=weight))


def _bias_rows(bias: Array, most: int) -> Array:
    """`(output, row)` of rows that add up to the bias, none beyond `most`."""
    count = max(1, int(np.ceil(np.abs(bias).max(initial=0) / most)))
    rows, left = [], bias
    for _ in range(count):
        rows.append(np.clip(left, -most, most))
        left = left - rows[-1]
    return np.stack(rows, axis=1).astype(np.int64)


def _fitting(weights: Array, bits: int, each: Projection, population: Population) -> Array:
    found, most = np.rint(weights).astype(np.int64), most_weight(bits)
    if population.dynamics.whole and np.abs(found).max(initial=0) > most:
        raise UserError(
            f"a weight from {each.source!r} to {each.target!r} is {np.abs(found).max()}, and {bits} bits hold {most}; use more bits"
        )
    return np.clip(found, -most, most)
