"""Layers without memory: convolutions, Linear, normalisation, pools, reshapes. Of torch.nn and of SpikingJelly alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikingjelly.activation_based import layer
from torch import nn

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import shapes
from synfire.formats.spikingjelly.convert import (
    MERGED,
    SEQUENCE,
    Context,
    Converter,
    described,
    numbers,
    require_stateless,
    step_mode,
)
from synfire.formats.spikingjelly.sketch import Held, under
from synfire.ops import Array
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.linear import Linear
from synfire.ops.max_pool1d import MaxPool1d
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.reshape import Reshape


def linear(context: Context, module: Any, name: str, x: Held) -> Held:
    """Linear, over the last axis."""
    weight = numbers(context, under(name, "weight"), module.weight)
    operator = Linear(weight, _bias(context, module, name, len(weight)))
    if len(x.signal.shape) < 1:
        raise UserError(
            f"{described(module, name)} gets a tensor {shapes.spelled(x)}, which has no features; check input_shape"
        )
    return _remembered(context, module, name, context.sketch.add(name, operator, x))


def conv1d(context: Context, module: Any, name: str, x: Held) -> Held:
    """Conv1d."""
    require_stateless(module, name, x, 2)
    (left, right) = _padding(module, name, 1)
    operator = Conv1d(
        *_weights(context, module, name), module.stride[0], (left, right), module.dilation[0], module.groups
    )
    return _remembered(context, module, name, context.sketch.add(name, operator, x))


def conv2d(context: Context, module: Any, name: str, x: Held) -> Held:
    """Conv2d."""
    require_stateless(module, name, x, 3)
    top, bottom, left, right = _padding(module, name, 2)
    operator = Conv2d(
        *_weights(context, module, name), _pair(module.stride), (top, bottom, left, right), _pair(module.dilation), module.groups
    )  # fmt: skip
    return _remembered(context, module, name, context.sketch.add(name, operator, x))


def batch_norm(context: Context, module: Any, name: str, x: Held) -> Held:
    """Normalisation by the running statistics. tdBN is the same: its α · v_th is in the weight from its first day."""
    if x.lead not in ((SEQUENCE,) if step_mode(module) == "m" else (("N",), MERGED)):
        require_stateless(module, name, x, len(x.signal.shape))
    if module.running_mean is None:
        raise UserError(
            f"{described(module, name)} keeps no running statistics, so it normalises by the batch it is given, and an answer "
            "would depend on the other requests; train it with track_running_stats=True"
        )
    mean, variance = (
        numbers(context, under(name, key), getattr(module, key)) for key in ("running_mean", "running_var")
    )
    ones = np.ones_like(mean)
    gain = numbers(context, under(name, "weight"), module.weight) if module.affine else ones
    shift = numbers(context, under(name, "bias"), module.bias) if module.affine else np.zeros_like(ones)
    output = context.sketch.add(name, BatchNorm(mean, variance, gain, shift, float(module.eps)), x)
    context.sketch.remember(name, output.source, running_mean="mean", running_var="variance")
    if module.affine:
        context.sketch.remember(name, output.source, weight="gain", bias="shift")
    return output


def max_pool(context: Context, module: Any, name: str, x: Held) -> Held:
    """MaxPool1d and MaxPool2d."""
    if module.return_indices:
        raise UserError(
            f"{described(module, name)} returns indices, which synfire has no operator for; set return_indices=False"
        )
    n = 1 if isinstance(module, nn.MaxPool1d) else 2
    require_stateless(module, name, x, n + 1)
    return pool_max(
        context, name, x, n, module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
    )


def avg_pool(context: Context, module: Any, name: str, x: Held) -> Held:
    """AvgPool1d and AvgPool2d."""
    n = 1 if isinstance(module, nn.AvgPool1d) else 2
    require_stateless(module, name, x, n + 1)
    divisor = getattr(module, "divisor_override", None)
    return pool_avg(
        context, name, x, n, module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad, divisor
    )  # fmt: skip


def adaptive_avg_pool(context: Context, module: Any, name: str, x: Held) -> Held:
    """AdaptiveAvgPool1d and AdaptiveAvgPool2d."""
    n = 1 if isinstance(module, nn.AdaptiveAvgPool1d) else 2
    require_stateless(module, name, x, n + 1)
    return adaptive(context, name, x, n, module.output_size)


def flatten(context: Context, module: Any, name: str, x: Held) -> Held:
    """Flatten; in multi-step mode its axes count from the merged (time, batch)."""
    merged = step_mode(module) == "m"
    x = shapes.regrouped(x, *MERGED) if merged else x
    x = shapes.flatten(context.sketch, name, x, module.start_dim, module.end_dim)
    return shapes.regrouped(x, *SEQUENCE) if merged else x


def voting(context: Context, module: Any, name: str, x: Held) -> Held:
    """The mean of each group of `voting_size` neighbouring neurons."""
    require_stateless(module, name, x, 1)
    x = context.sketch.add(under(name, "row"), Reshape((1, x.size)), x)
    size = int(module.voting_size)
    x = context.sketch.add(name, AvgPool1d((size,), (size,)), x)
    return context.sketch.add(under(name, "flatten"), Flatten(), x)


def identity(context: Context, module: Any, name: str, x: Held) -> Held:
    """Dropout outside of training, and Identity: no operator at all."""
    return x


def adaptive(context: Context, name: str, x: Held, n: int, size: Any) -> Held:
    """Average pooling to `size`, which may hold None for "as it is"."""
    wanted = tuple(size) if isinstance(size, (tuple, list)) else (size,) * n
    shape = tuple(now if want is None else int(want) for want, now in zip(wanted, x.signal.shape[1:], strict=True))
    if n == 2:
        return context.sketch.add(name, AdaptiveAvgPool2d((shape[0], shape[1])), x)
    channels, length = x.signal.shape
    x = context.sketch.add(under(name, "row"), Reshape((channels, 1, length)), x)
    x = context.sketch.add(name, AdaptiveAvgPool2d((1, shape[0])), x)
    return context.sketch.add(under(name, "column"), Reshape((channels, shape[0])), x)


def converters() -> dict[type, Converter]:
    """The exact class of each layer and how it is converted; a subclass is traced instead, for it may differ."""
    by_name = {
        "Linear": linear, "Conv1d": conv1d, "Conv2d": conv2d, "BatchNorm1d": batch_norm, "BatchNorm2d": batch_norm,
        "ThresholdDependentBatchNorm1d": batch_norm, "ThresholdDependentBatchNorm2d": batch_norm, "MaxPool1d": max_pool,
        "MaxPool2d": max_pool, "AvgPool1d": avg_pool, "AvgPool2d": avg_pool, "AdaptiveAvgPool1d": adaptive_avg_pool,
        "AdaptiveAvgPool2d": adaptive_avg_pool, "Flatten": flatten, "VotingLayer": voting, "Dropout": identity,
        "Dropout1d": identity, "Dropout2d": identity, "Identity": identity,
    }  # fmt: skip
    homes = (nn, layer)
    return {getattr(home, name): each for name, each in by_name.items() for home in homes if hasattr(home, name)}


def pool_max(
    context: Context, name: str, x: Held, n: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Held:
    """Max pooling over `n` axes with settings as torch spells them."""
    cls: Any = MaxPool1d if n == 1 else MaxPool2d
    window = (_numbers(kernel, n), _numbers(stride or kernel, n), _both_sides(_numbers(padding, n)))
    return context.sketch.add(name, cls(*window, bool(ceil), _numbers(dilation, n)), x)


def pool_avg(
    context: Context, name: str, x: Held, n: int, kernel: Any, stride: Any, padding: Any, ceil: bool, count: bool, divisor: int | None
) -> Held:  # fmt: skip
    """Average pooling over `n` axes with settings as torch spells them."""
    cls: Any = AvgPool1d if n == 1 else AvgPool2d
    window = (_numbers(kernel, n), _numbers(stride or kernel, n), _both_sides(_numbers(padding, n)))
    other = (int(divisor),) if divisor else ()
    return context.sketch.add(name, cls(*window, bool(ceil), bool(count), *other), x)


def _weights(context: Context, module: Any, name: str) -> tuple[Array, Array]:
    if module.transposed:
        raise UserError(
            f"{described(module, name)} is a transposed convolution, which synfire has no operator for; use upsampling"
        )
    weight = numbers(context, under(name, "weight"), module.weight)
    return weight, _bias(context, module, name, len(weight))


def _bias(context: Context, module: Any, name: str, size: int) -> Array:
    return np.zeros(size, np.float32) if module.bias is None else numbers(context, under(name, "bias"), module.bias)


def _remembered(context: Context, module: Any, name: str, output: Held) -> Held:
    context.sketch.remember(name, output.source, weight="weight")
    if module.bias is not None:
        context.sketch.remember(name, output.source, bias="bias")
    return output


def _padding(module: Any, name: str, n: int) -> tuple[int, ...]:
    if module.padding_mode != "zeros" and module.padding not in (0, (0,) * n, "valid"):
        raise UserError(
            f"{described(module, name)} pads by {module.padding_mode!r}; synfire's convolutions pad with zeros only"
        )
    if module.padding == "valid":
        return (0,) * (2 * n)
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return tuple(side for total in totals for side in (total // 2, total - total // 2))
    return _both_sides(_numbers(module.padding, n))


def _both_sides(padding: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for size in padding for side in (size, size))


def _numbers(value: Any, n: int) -> tuple[int, ...]:
    return tuple(int(each) for each in value) if isinstance(value, (tuple, list)) else (int(value),) * n


def _pair(value: Any) -> tuple[int, int]:
    first, second = _numbers(value, 2)
    return first, second
