"""Moves batch normalisation into the synapses beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from synfire.graph.graph import Graph
from synfire.graph.passes.rewire import bypassed, only_reader, replaced, to_fixed_point
from synfire.ops import Array, Signal
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear

Synaptic: TypeAlias = Conv1d | Conv2d | Linear


def fold_batch_norm(graph: Graph) -> Graph:
    """The flat graph with each BatchNorm folded into the Conv1d, Conv2d or Linear before it, or else after it.

        before   W' = a · W,  b' = a · b + shift      with Y = a · X + shift, a = gain / √(variance + epsilon)
        after    W' = W · a,  b' = b + Σ W · shift

    Computed in float64 and rounded to float32 once, so outputs agree within float32 rounding. The synaptic operator
    keeps its name. Not folded: across a delay (what arrives before the first value is 0, and 0 is normalised too), into
    an operator that others read, and into a padded convolution after (its zeros are not normalised).
    """
    return to_fixed_point(graph, _fold_one)


def _fold_one(graph: Graph) -> Graph | None:
    for name, norm in graph.operators.items():
        if isinstance(norm, BatchNorm):
            folded = _into_source(graph, name, norm) or _into_target(graph, name, norm)
            if folded is not None:
                return folded
    return None


def _into_source(graph: Graph, name: str, norm: BatchNorm) -> Graph | None:
    (arriving,) = graph.arriving(name)
    synaptic = graph.operators.get(arriving.source)
    if not isinstance(synaptic, Synaptic) or arriving.delay_steps or only_reader(graph, arriving.source) is None:
        return None
    if _axis(norm, graph.signals()[arriving.source]) != _channel_axis(synaptic, graph.signals()[arriving.source]):
        return None
    a, shift = norm.affine()
    weight = synaptic.weight.astype(np.float64) * a.reshape(-1, *(1,) * (synaptic.weight.ndim - 1))
    return bypassed(replaced(graph, {arriving.source: _with(synaptic, weight, a * synaptic.bias + shift)}), name)


def _into_target(graph: Graph, name: str, norm: BatchNorm) -> Graph | None:
    reader = only_reader(graph, name)
    if reader is None or reader.delay_steps:
        return None
    synaptic = graph.operators[reader.target]
    if not isinstance(synaptic, Synaptic) or np.any(getattr(synaptic, "padding", 0)):
        return None
    if _axis(norm, graph.signals()[name]) != _channel_axis(synaptic, graph.signals()[name]):
        return None
    weight = synaptic.weight.astype(np.float64)
    a, shift = (_per_input(synaptic, each) for each in norm.affine())
    bias = synaptic.bias + (weight * shift).reshape(len(weight), -1).sum(axis=1)
    return bypassed(replaced(graph, {reader.target: _with(synaptic, weight * a, bias)}), name)


def _per_input(synaptic: Synaptic, channels: Array) -> Array:
    """A number per input channel, laid out to multiply the weight: each group of outputs sees its own channels."""
    groups = 1 if isinstance(synaptic, Linear) else synaptic.groups
    rows = np.repeat(channels.reshape(groups, -1), len(synaptic.weight) // groups, axis=0)
    return rows.reshape(*synaptic.weight.shape[:2], *(1,) * (synaptic.weight.ndim - 2))


def _axis(norm: BatchNorm, signal: Signal) -> int:
    return norm.axis % len(signal.shape)


def _channel_axis(synaptic: Synaptic, signal: Signal) -> int:
    return len(signal.shape) - 1 if isinstance(synaptic, Linear) else 0


def _with(synaptic: Synaptic, weight: Array, bias: Array) -> Synaptic:
    return replace(synaptic, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
