"""Functions and methods that a traced forward may call, each as operators."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import layers, shapes
from synfire.formats.spikingjelly.convert import MERGED, SEQUENCE, SINGLE, Context, numbers
from synfire.formats.spikingjelly.sketch import Held
from synfire.ops import Array, Clock, Kind
from synfire.ops.add import Add
from synfire.ops.and_not import AndNot
from synfire.ops.concatenate import Concatenate
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.last import Last
from synfire.ops.linear import Linear
from synfire.ops.mat_mul import MatMul
from synfire.ops.mean_rate import MeanRate
from synfire.ops.multiply import Multiply
from synfire.ops.scale import Scale
from synfire.ops.shift import Shift
from synfire.ops.slice import Slice
from synfire.ops.spike_count import SpikeCount
from synfire.ops.token_mean import TokenMean
from synfire.ops.token_sum import TokenSum

Call = Callable[..., Any]
"""`call(context, name, *args, **kwargs)` with tensors as `Held`; named as torch names the arguments."""

Number = (int, float)


def add(context: Context, name: str, input: Any, other: Any, *, alpha: float = 1) -> Held:
    x, y = (input, other) if isinstance(input, Held) else (other, input)
    if alpha != 1:
        y = mul(context, name, y, alpha) if isinstance(y, Held) else y * alpha
    if isinstance(y, Held):
        return _binary(context, name, Add(), x, y)
    offset = _constant(context, name, y, x)
    return x if not np.any(offset) else context.sketch.add(name, Shift(offset), x)


def sub(context: Context, name: str, input: Any, other: Any, *, alpha: float = 1) -> Held | Complement:
    if (
        not isinstance(input, Held)
        and isinstance(input, Number)
        and float(input) == 1.0
        and other.signal.kind is Kind.SPIKE
    ):
        return Complement(other)
    negative = mul(context, name, other, -alpha) if isinstance(other, Held) else -other * alpha
    return add(context, name, input, negative)


def rsub(context: Context, name: str, input: Any, other: Any) -> Held | Complement:
    return sub(context, name, other, input)


def mul(context: Context, name: str, input: Any, other: Any) -> Held:
    x, y = (input, other) if isinstance(input, Held) else (other, input)
    if isinstance(x, Complement) or isinstance(y, Complement):
        return _masked(context, name, x, y)
    if isinstance(y, Held):
        return _binary(context, name, Multiply(), x, y)
    factor = _constant(context, name, y, x)
    return x if np.all(np.asarray(factor) == 1) else context.sketch.add(name, Scale(factor), x)


def div(context: Context, name: str, input: Any, other: Any) -> Held:
    if isinstance(other, Held) or not isinstance(input, Held):
        raise UserError("it divides by a tensor that depends on the input; synfire divides by constants only")
    return mul(context, name, input, 1.0 / other)


def neg(context: Context, name: str, input: Held) -> Held:
    return mul(context, name, input, -1.0)


def matmul(context: Context, name: str, input: Held, other: Any) -> Held:
    if not isinstance(other, Held):
        if other.ndim != 2:
            raise UserError("it multiplies by a constant that is no matrix; use nn.Linear")
        return linear(context, name, input, other.t())
    if not isinstance(input, Held):
        raise UserError("it multiplies a constant matrix from the left; use nn.Linear or nn.Conv1d with kernel 1")
    return _binary(context, name, MatMul(), input, other)


def linear(context: Context, name: str, input: Held, weight: Any, bias: Any = None) -> Held:
    w = numbers(context, name, weight)
    b = np.zeros(len(w), np.float32) if bias is None else numbers(context, name, bias)
    return context.sketch.add(name, Linear(w, b), input)


def mean(context: Context, name: str, input: Held, dim: Any = None, keepdim: bool = False) -> Held:
    axes = _axes(input, dim)
    if axes == (0,) and input.lead == SEQUENCE:
        return _over_time(context, name, MeanRate(), input, keepdim)
    inner = _sample_axes(input, axes)
    ndim = len(input.signal.shape)
    if len(inner) == ndim - 1 and inner == tuple(range(1, ndim)):
        return context.sketch.add(name, GlobalAvgPool(keepdim), input)
    return _one_by_one(context, name, input, inner, lambda axis: TokenMean(axis, keepdim))


def total(context: Context, name: str, input: Held, dim: Any = None, keepdim: bool = False) -> Held:
    axes = _axes(input, dim)
    if axes == (0,) and input.lead == SEQUENCE:
        if input.signal.kind in (Kind.SPIKE, Kind.COUNT):
            return _over_time(context, name, SpikeCount(), input, keepdim)
        averaged = _over_time(context, f"{name}.mean", MeanRate(), input, keepdim)
        return context.sketch.add(name, Scale(float(input.steps)), averaged)
    return _one_by_one(context, name, input, _sample_axes(input, axes), lambda axis: TokenSum(axis, keepdim))


def flatten(context: Context, name: str, input: Held, start_dim: int = 0, end_dim: int = -1) -> Held:
    return shapes.flatten(context.sketch, name, input, start_dim, end_dim)


def unflatten(context: Context, name: str, input: Held, dim: int, sizes: Any) -> Held:
    dim %= input.ndim
    if dim == 0 and input.lead == MERGED:
        return shapes.reshape(context.sketch, name, input, (*sizes, *input.shape[1:]))
    return shapes.reshape(context.sketch, name, input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def reshape(context: Context, name: str, input: Held, *shape: Any) -> Held:
    return shapes.reshape(context.sketch, name, input, _integers(shape))


def transpose(context: Context, name: str, input: Held, dim0: int, dim1: int) -> Held:
    order = list(range(input.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return shapes.transpose(context.sketch, name, input, tuple(order))


def permute(context: Context, name: str, input: Held, *dims: Any) -> Held:
    return shapes.transpose(context.sketch, name, input, _integers(dims))


def squeeze(context: Context, name: str, input: Held, dim: int) -> Held:
    return shapes.squeeze(context.sketch, name, input, dim)


def unsqueeze(context: Context, name: str, input: Held, dim: int) -> Held:
    return shapes.unsqueeze(context.sketch, name, input, dim)


def repeat(context: Context, name: str, input: Held, *sizes: Any) -> Held:
    counts = _integers(sizes)
    return _repeated(context, name, input, counts, tuple(1 for _ in counts))


def expand(context: Context, name: str, input: Held, *sizes: Any) -> Held:
    counts = _integers(sizes)
    kept = (*(1,) * (len(counts) - input.ndim), *input.shape)
    same = tuple(1 if wanted in (-1, have) else wanted for wanted, have in zip(counts, kept, strict=True))
    return _repeated(context, name, input, same, tuple(1 for _ in counts))


def cat(context: Context, name: str, tensors: Any, dim: int = 0) -> Held:
    if not all(isinstance(each, Held) for each in tensors):
        raise UserError("it concatenates a constant to a tensor; synfire concatenates tensors that depend on the input")
    (axis,) = _sample_axes(tensors[0], (dim % tensors[0].ndim,))
    return context.sketch.add(name, Concatenate(axis), *tensors) if len(tensors) > 1 else tensors[0]


def chunk(context: Context, name: str, input: Held, chunks: int, dim: int = 0) -> tuple[Held, ...]:
    return split(context, name, input, -(-input.shape[dim] // chunks), dim)


def split(context: Context, name: str, tensor: Held, split_size_or_sections: Any, dim: int = 0) -> tuple[Held, ...]:
    (axis,) = _sample_axes(tensor, (dim % tensor.ndim,))
    length, size = tensor.signal.shape[axis], split_size_or_sections
    sizes = list(size) if isinstance(size, (list, tuple)) else [min(size, length - at) for at in range(0, length, size)]
    edges = np.cumsum([0, *sizes]).tolist()
    return tuple(
        context.sketch.add(f"{name}.{i}", Slice(a, b, axis), tensor) for i, (a, b) in enumerate(pairwise(edges))
    )


def getitem(context: Context, name: str, input: Held, index: Any) -> Held:
    index = index if isinstance(index, tuple) else (index,)
    if index == (-1,) and input.lead == SEQUENCE:
        return context.sketch.add(name, Last(), input).with_lead(*SINGLE)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *(slice(None),) * (input.ndim - len(index) + 1), *index[at + 1 :])
    x, dim = input, 0
    for each in index:
        x, dim = _indexed(context, name, x, dim, each)
    return x


def max_pool(n: int) -> Call:
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
    def call(context: Context, name: str, input: Held, output_size: Any) -> Held:
        _require_merged(input, n)
        return layers.adaptive(context, name, input, n, output_size)

    return call


def dropout(
    context: Context, name: str, input: Held, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Held:
    if training:
        raise UserError("it drops values although the net is in evaluation mode; pass training=self.training")
    return input


def same(context: Context, name: str, input: Held, *args: Any, **kwargs: Any) -> Held:
    return input


def to(context: Context, name: str, input: Held, *args: Any, **kwargs: Any) -> Held:
    types = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.dtype)]
    if types and types != [torch.float32]:
        raise UserError(f"it converts a tensor to {types[0]}; synfire computes in float32")
    return input


def dim(context: Context, name: str, input: Held) -> int:
    return input.ndim


def size(context: Context, name: str, input: Held, dim: int | None = None) -> Any:
    return torch.Size(input.shape) if dim is None else input.shape[dim]


class Complement:
    """1 − S of a spike train, which becomes AndNot when it is multiplied."""

    def __init__(self, spikes: Held) -> None:
        self.spikes = spikes
        self.shape = spikes.shape
        self.ndim = spikes.ndim


FUNCTIONS: dict[Any, Call] = {
    python.add: add, python.iadd: add, torch.add: add, python.sub: sub, python.isub: sub, torch.sub: sub, torch.rsub: rsub,
    python.mul: mul, python.imul: mul, torch.mul: mul, torch.multiply: mul, python.truediv: div, torch.div: div,
    python.neg: neg, torch.neg: neg, python.matmul: matmul, torch.matmul: matmul, torch.bmm: matmul, F.linear: linear,
    torch.mean: mean, torch.sum: total, torch.flatten: flatten, torch.unflatten: unflatten, torch.reshape: reshape,
    torch.transpose: transpose, torch.permute: permute, torch.squeeze: squeeze, torch.unsqueeze: unsqueeze, torch.cat: cat,
    torch.concat: cat, torch.chunk: chunk, torch.split: split, python.getitem: getitem, F.max_pool1d: max_pool(1),
    F.max_pool2d: max_pool(2), F.avg_pool1d: avg_pool(1), F.avg_pool2d: avg_pool(2), F.adaptive_avg_pool1d: adaptive_avg_pool(1),
    F.adaptive_avg_pool2d: adaptive_avg_pool(2), F.dropout: dropout, torch.clone: same,
}  # fmt: skip

METHODS: dict[str, Call] = {
    "add": add, "sub": sub, "mul": mul, "multiply": mul, "div": div, "neg": neg, "matmul": matmul, "bmm": matmul, "mean": mean,
    "sum": total, "flatten": flatten, "unflatten": unflatten, "reshape": reshape, "view": reshape, "transpose": transpose,
    "permute": permute, "squeeze": squeeze, "unsqueeze": unsqueeze, "repeat": repeat, "expand": expand, "chunk": chunk,
    "split": split, "contiguous": same, "clone": same, "detach": same, "to": to, "float": same, "type_as": same,
    "dim": dim, "ndimension": dim, "size": size,
}  # fmt: skip


def _binary(context: Context, name: str, operator: Any, x: Held, y: Held) -> Held:
    if x.lead != y.lead:
        raise UserError(
            f"it joins tensors {shapes.spelled(x)} and {shapes.spelled(y)}, whose time and batch axes differ"
        )
    if len(x.signal.shape) != len(y.signal.shape) and not isinstance(operator, MatMul):
        raise UserError(
            f"it joins tensors {shapes.spelled(x)} and {shapes.spelled(y)} with different numbers of axes; reshape one"
        )
    return context.sketch.add(name, operator, x, y)


def _masked(context: Context, name: str, x: Any, y: Any) -> Held:
    kept, masking = (y, x) if isinstance(x, Complement) else (x, y)
    if not isinstance(kept, Held):
        raise UserError("it multiplies 1 − S by something that is no tensor of the net; write x * (1 - s)")
    return _binary(context, name, AndNot(), kept, masking.spikes)


def _constant(context: Context, name: str, value: Any, x: Held) -> Array | float:
    """A constant as it meets one sample of `x`. Raises `UserError` when it differs over time or batch."""
    if isinstance(value, Number):
        return float(np.float32(value))
    array = numbers(context, name, value)
    if array.ndim == 0:
        return float(array)
    lead = len(x.lead)
    extra = array.ndim - len(x.signal.shape)
    if extra > lead or any(size != 1 for size in array.shape[: max(extra, 0)]):
        raise UserError(
            f"it joins a constant of shape {array.shape} and a tensor {shapes.spelled(x)}; a constant may not differ over time or batch"
        )
    return array.reshape(array.shape[max(extra, 0) :])


def _axes(x: Held, dim: Any) -> tuple[int, ...]:
    if dim is None:
        raise UserError("it reduces over all axes, batch included; name the axes")
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    return tuple(sorted(each % x.ndim for each in dims))


def _sample_axes(x: Held, axes: tuple[int, ...]) -> tuple[int, ...]:
    inner = tuple(axis - len(x.lead) for axis in axes)
    if min(inner) < 0:
        raise UserError(
            f"it works across the time or batch axis of a tensor {shapes.spelled(x)}; keep samples and steps apart"
        )
    return inner


def _over_time(context: Context, name: str, readout: Any, x: Held, keepdim: bool) -> Held:
    if keepdim:
        raise UserError("it keeps the time axis after reducing over it; drop keepdim")
    return context.sketch.add(name, readout, x).with_lead(*SINGLE)


def _one_by_one(context: Context, name: str, x: Held, axes: tuple[int, ...], operator: Callable[[int], Any]) -> Held:
    for axis in reversed(axes):
        x = context.sketch.add(name, operator(axis), x)
    return x


def _repeated(context: Context, name: str, x: Held, counts: tuple[int, ...], kept: tuple[int, ...]) -> Held:
    if counts == kept and len(counts) == x.ndim:
        return x
    waits = x.lead == ("1", "N") or (x.lead == SINGLE and len(counts) == x.ndim + 1)
    if waits and x.signal.clock is Clock.REQUEST and counts == (x.steps, *kept[1:]):
        return context.sketch.add(name, ConstantCurrent(x.steps), x.with_lead(*SINGLE)).with_lead(*SEQUENCE)
    raise UserError(
        f"it repeats a tensor {shapes.spelled(x)} by {counts}; synfire only repeats one value per request over the {x.steps} time "
        "steps (steps= must equal the T of the net)"
    )


def _indexed(context: Context, name: str, x: Held, dim: int, index: Any) -> tuple[Held, int]:
    if isinstance(index, slice) and index in (slice(None), slice(0, None)):
        return x, dim + 1
    if index is None:
        return shapes.unsqueeze(context.sketch, name, x, dim), dim + 1
    (axis,) = _sample_axes(x, (dim,))
    length = x.signal.shape[axis]
    if isinstance(index, slice) and index.step in (None, 1):
        start, stop, _ = index.indices(length)
        return context.sketch.add(name, Slice(start, stop, axis), x), dim + 1
    if isinstance(index, int):
        part = context.sketch.add(name, Slice(index % length, index % length + 1, axis), x)
        return shapes.squeeze(context.sketch, f"{name}.squeeze", part, dim), dim
    raise UserError(
        f"it indexes a tensor {shapes.spelled(x)} by {index!r}; synfire takes whole numbers and slices without a step"
    )


def _require_merged(x: Held, n: int) -> None:
    if x.lead == SEQUENCE or len(x.signal.shape) != n + 1:
        raise UserError(
            f"it pools a tensor {shapes.spelled(x)}; call it on x.flatten(0, 1) and restore (time, batch) afterwards, or use layer.*Pool{n}d"
        )


def _integers(values: tuple[Any, ...]) -> tuple[int, ...]:
    given = values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values
    return tuple(int(each) for each in given)
