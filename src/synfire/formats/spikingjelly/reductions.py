"""Means, sums and pools that a traced forward may take, over time or within a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import layers, shapes
from synfire.formats.spikingjelly.convert import SEQUENCE, SINGLE, Context
from synfire.formats.spikingjelly.shapes import sample_axes
from synfire.formats.spikingjelly.sketch import Held
from synfire.ops import Kind
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.mean_rate import MeanRate
from synfire.ops.scale import Scale
from synfire.ops.spike_count import SpikeCount
from synfire.ops.token_mean import TokenMean
from synfire.ops.token_sum import TokenSum

Call = Callable[..., Held]


def mean(context: Context, name: str, input: Held, dim: Any = None, keepdim: bool = False) -> Held:
    """`input.mean(dim, keepdim)`: over time a MeanRate, within a sample the mean over space or tokens."""
    axes = _axes(input, dim)
    if axes == (0,) and input.lead == SEQUENCE:
        return _over_time(context, name, MeanRate(), input, keepdim)
    inner = sample_axes(input, axes)
    ndim = len(input.signal.shape)
    if len(inner) == ndim - 1 and inner == tuple(range(1, ndim)):
        return context.sketch.add(name, GlobalAvgPool(keepdim), input)
    return _one_by_one(context, name, input, inner, lambda axis: TokenMean(axis, keepdim))


def total(context: Context, name: str, input: Held, dim: Any = None, keepdim: bool = False) -> Held:
    """`input.sum(dim, keepdim)`: over time a SpikeCount, within a sample a TokenSum."""
    axes = _axes(input, dim)
    if axes == (0,) and input.lead == SEQUENCE:
        if input.signal.kind in (Kind.SPIKE, Kind.COUNT):
            return _over_time(context, name, SpikeCount(), input, keepdim)
        averaged = _over_time(context, f"{name}.mean", MeanRate(), input, keepdim)
        return context.sketch.add(name, Scale(float(input.steps)), averaged)
    return _one_by_one(context, name, input, sample_axes(input, axes), lambda axis: TokenSum(axis, keepdim))


def max_pool(n: int) -> Call:
    """`F.max_pool1d` or `2d`."""

    def call(
        context: Context, name: str, input: Held, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Held:  # fmt: skip
        if return_indices:
            raise UserError("it asks for the indices of the maxima, which synfire has no operator for")
        _require_merged(input, n)
        return layers.pool_max(context, name, input, n, kernel_size, stride, padding, dilation, ceil_mode)

    return call


def avg_pool(n: int) -> Call:
    """`F.avg_pool1d` or `2d`."""

    def call(
        context: Context, name: str, input: Held, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Held:  # fmt: skip
        _require_merged(input, n)
        return layers.pool_avg(
            context, name, input, n, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        )

    return call


def adaptive_avg_pool(n: int) -> Call:
    """`F.adaptive_avg_pool1d` or `2d`."""

    def call(context: Context, name: str, input: Held, output_size: Any) -> Held:
        _require_merged(input, n)
        return layers.adaptive(context, name, input, n, output_size)

    return call


def dropout(
    context: Context, name: str, input: Held, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Held:
    """`F.dropout`, which does nothing outside of training."""
    if training:
        raise UserError("it drops values although the net is in evaluation mode; pass training=self.training")
    return input


def _axes(x: Held, dim: Any) -> tuple[int, ...]:
    if dim is None:
        raise UserError("it reduces over all axes, batch included; name the axes")
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    return tuple(sorted(each % x.ndim for each in dims))


def _over_time(context: Context, name: str, readout: Any, x: Held, keepdim: bool) -> Held:
    if keepdim:
        raise UserError("it keeps the time axis after reducing over it; drop keepdim")
    return context.sketch.add(name, readout, x).with_lead(*SINGLE)


def _one_by_one(context: Context, name: str, x: Held, axes: tuple[int, ...], operator: Callable[[int], Any]) -> Held:
    for axis in reversed(axes):
        x = context.sketch.add(name, operator(axis), x)
    return x


def _require_merged(x: Held, n: int) -> None:
    if x.lead == SEQUENCE or len(x.signal.shape) != n + 1:
        raise UserError(
            f"it pools a tensor {shapes.spelled(x)}; call it on x.flatten(0, 1) and restore (time, batch) afterwards, or use layer.*Pool{n}d"
        )
