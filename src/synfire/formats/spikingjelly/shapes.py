"""Reshapes and transpositions of the source's tensors as operators on one sample.

The leading time and batch axes of the source are no part of a sample, so each call is split: what it does to the leading
axes must be one of the known ways to merge or part time and batch, what it does to the rest becomes an operator.
"""

from __future__ import annotations

from math import prod

from synfire.base.errors import UserError
from synfire.formats.spikingjelly.sketch import Held, Sketch
from synfire.ops.flatten import Flatten
from synfire.ops.reshape import Reshape
from synfire.ops.transpose import Transpose

_REGROUPED = {("T", "N"): (("T", "N"), ("TN",)), ("TN",): (("TN",), ("T", "N")), ("N",): (("N",), ("1", "N"))}


def reshape(sketch: Sketch, name: str, x: Held, wanted: tuple[int, ...]) -> Held:
    """`x.reshape(wanted)`; one size may be −1."""
    total = prod(x.shape)
    known = prod(size for size in wanted if size != -1)
    sizes = tuple(total // max(known, 1) if size == -1 else size for size in wanted)
    for lead in _REGROUPED.get(x.lead, (x.lead,)):
        front = x.with_lead(*lead).shape[: len(lead)]
        body = sizes[len(lead) :]
        if sizes[: len(lead)] == front and prod(body) == x.size and prod(sizes) == total:
            return _reshaped(sketch, name, x.with_lead(*lead), body)
    raise UserError(
        f"it lays a tensor of shape {spelled(x)} out as {wanted}, which mixes time or batch into the values; "
        "keep the leading (time, batch) axes as they are"
    )


def flatten(sketch: Sketch, name: str, x: Held, start: int = 0, end: int = -1) -> Held:
    """`x.flatten(start, end)`."""
    start, end = start % x.ndim, end % x.ndim
    shape = x.shape
    return reshape(sketch, name, x, (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]))


def transpose(sketch: Sketch, name: str, x: Held, order: tuple[int, ...]) -> Held:
    """`x.permute(order)`."""
    lead = len(x.lead)
    order = tuple(axis % x.ndim for axis in order)
    if order[:lead] != tuple(range(lead)):
        raise UserError(f"it moves the time or batch axis of a tensor {spelled(x)}; keep (time, batch) in front")
    axes = tuple(axis - lead for axis in order[lead:])
    return x if axes == tuple(range(len(axes))) else sketch.add(name, Transpose(axes), x)


def squeeze(sketch: Sketch, name: str, x: Held, dim: int) -> Held:
    """`x.squeeze(dim)`."""
    shape = x.shape
    dim %= x.ndim
    return reshape(sketch, name, x, shape[:dim] + shape[dim + 1 :]) if shape[dim] == 1 else x


def unsqueeze(sketch: Sketch, name: str, x: Held, dim: int) -> Held:
    """`x.unsqueeze(dim)`; in front of one value per request it makes room for time."""
    dim %= x.ndim + 1
    if dim == 0 and x.lead == ("N",):
        return x.with_lead("1", "N")
    if dim < len(x.lead):
        raise UserError(f"it puts a new axis before the batch of a tensor {spelled(x)}; keep (time, batch) in front")
    return reshape(sketch, name, x, (*x.shape[:dim], 1, *x.shape[dim:]))


def regrouped(x: Held, *lead: str) -> Held:
    """`x` with time and batch merged or parted; raises `UserError` when its leading axes cannot become `lead`."""
    if lead not in _REGROUPED.get(x.lead, ()):
        raise UserError(f"it takes a tensor with leading axes {_named(lead)}, got {spelled(x)}")
    return x.with_lead(*lead)


def sample_axes(x: Held, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions of the tensor as axes of one sample. Raises `UserError` when one is time or batch."""
    inner = tuple(axis - len(x.lead) for axis in axes)
    if min(inner) < 0:
        raise UserError(
            f"it works across the time or batch axis of a tensor {spelled(x)}; keep samples and steps apart"
        )
    return inner


def _reshaped(sketch: Sketch, name: str, x: Held, body: tuple[int, ...]) -> Held:
    if body == x.signal.shape:
        return x
    flat = len(body) == 1
    return sketch.add(name, Flatten() if flat else Reshape(body), x)


def spelled(x: Held) -> str:
    """The tensor's shape in words, for messages."""
    return f"({', '.join([_NAMES[axis] for axis in x.lead] + [str(size) for size in x.signal.shape])})"


def _named(lead: tuple[str, ...]) -> str:
    return f"({', '.join(_NAMES[axis] for axis in lead)})"


_NAMES = {"T": "time", "N": "batch", "TN": "time·batch", "1": "1"}
