"""Reshapes, parts and repetitions that a traced forward may ask for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import shapes
from synfire.formats.spikingjelly.convert import MERGED, SEQUENCE, SINGLE, Context
from synfire.formats.spikingjelly.shapes import sample_axes
from synfire.formats.spikingjelly.sketch import Held
from synfire.ops import Clock
from synfire.ops.concatenate import Concatenate
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.last import Last
from synfire.ops.slice import Slice


def flatten(context: Context, name: str, input: Held, start_dim: int = 0, end_dim: int = -1) -> Held:
    """`input.flatten(start_dim, end_dim)`."""
    return shapes.flatten(context.sketch, name, input, start_dim, end_dim)


def unflatten(context: Context, name: str, input: Held, dim: int, sizes: Any) -> Held:
    """`input.unflatten(dim, sizes)`."""
    dim %= input.ndim
    if dim == 0 and input.lead == MERGED:
        return shapes.reshape(context.sketch, name, input, (*sizes, *input.shape[1:]))
    return shapes.reshape(context.sketch, name, input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def reshape(context: Context, name: str, input: Held, *shape: Any) -> Held:
    """`input.reshape(*shape)` and `view`."""
    return shapes.reshape(context.sketch, name, input, _integers(shape))


def transpose(context: Context, name: str, input: Held, dim0: int, dim1: int) -> Held:
    """`input.transpose(dim0, dim1)`."""
    order = list(range(input.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return shapes.transpose(context.sketch, name, input, tuple(order))


def permute(context: Context, name: str, input: Held, *dims: Any) -> Held:
    """`input.permute(*dims)`."""
    return shapes.transpose(context.sketch, name, input, _integers(dims))


def squeeze(context: Context, name: str, input: Held, dim: int) -> Held:
    """`input.squeeze(dim)`."""
    return shapes.squeeze(context.sketch, name, input, dim)


def unsqueeze(context: Context, name: str, input: Held, dim: int) -> Held:
    """`input.unsqueeze(dim)`."""
    return shapes.unsqueeze(context.sketch, name, input, dim)


def repeat(context: Context, name: str, input: Held, *sizes: Any) -> Held:
    """`input.repeat(*sizes)`: of one value per request over time, a ConstantCurrent."""
    counts = _integers(sizes)
    return _repeated(context, name, input, counts, tuple(1 for _ in counts))


def expand(context: Context, name: str, input: Held, *sizes: Any) -> Held:
    """`input.expand(*sizes)`, as `repeat`."""
    counts = _integers(sizes)
    kept = (*(1,) * (len(counts) - input.ndim), *input.shape)
    same = tuple(1 if wanted in (-1, have) else wanted for wanted, have in zip(counts, kept, strict=True))
    return _repeated(context, name, input, same, tuple(1 for _ in counts))


def cat(context: Context, name: str, tensors: Any, dim: int = 0) -> Held:
    """`torch.cat(tensors, dim)`."""
    if not all(isinstance(each, Held) for each in tensors):
        raise UserError("it concatenates a constant to a tensor; synfire concatenates tensors that depend on the input")
    (axis,) = sample_axes(tensors[0], (dim % tensors[0].ndim,))
    return context.sketch.add(name, Concatenate(axis), *tensors) if len(tensors) > 1 else tensors[0]


def chunk(context: Context, name: str, input: Held, chunks: int, dim: int = 0) -> tuple[Held, ...]:
    """`input.chunk(chunks, dim)`: one Slice each."""
    return split(context, name, input, -(-input.shape[dim] // chunks), dim)


def split(context: Context, name: str, tensor: Held, split_size_or_sections: Any, dim: int = 0) -> tuple[Held, ...]:
    """`tensor.split(split_size_or_sections, dim)`: one Slice each."""
    (axis,) = sample_axes(tensor, (dim % tensor.ndim,))
    length, size = tensor.signal.shape[axis], split_size_or_sections
    sizes = list(size) if isinstance(size, (list, tuple)) else [min(size, length - at) for at in range(0, length, size)]
    edges = np.cumsum([0, *sizes]).tolist()
    return tuple(
        context.sketch.add(f"{name}.{i}", Slice(a, b, axis), tensor) for i, (a, b) in enumerate(pairwise(edges))
    )


def getitem(context: Context, name: str, input: Held, index: Any) -> Held:
    """`input[index]` by whole numbers and slices; `input[-1]` over time is the last step."""
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


def same(context: Context, name: str, input: Held, *args: Any, **kwargs: Any) -> Held:
    """A call that changes no value."""
    return input


def to(context: Context, name: str, input: Held, *args: Any, **kwargs: Any) -> Held:
    """`input.to(...)`, which may not change the number format."""
    types = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.dtype)]
    if types and types != [torch.float32]:
        raise UserError(f"it converts a tensor to {types[0]}; synfire computes in float32")
    return input


def dim(context: Context, name: str, input: Held) -> int:
    """`input.dim()`."""
    return input.ndim


def size(context: Context, name: str, input: Held, dim: int | None = None) -> Any:
    """`input.size(dim)`."""
    return torch.Size(input.shape) if dim is None else input.shape[dim]


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
    (axis,) = sample_axes(x, (dim,))
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


def _integers(values: tuple[Any, ...]) -> tuple[int, ...]:
    given = values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values
    return tuple(int(each) for each in given)
