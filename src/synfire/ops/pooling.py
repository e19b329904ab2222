"""What pooling operators share: windows that slide over the trailing axes of a sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import NUMBERS
from synfire.ops.operator import Stateless, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape


@dataclass(frozen=True)
class Window:
    """A window along one axis: `kernel` elements `dilation` apart, moved by `stride` over zeros, input, zeros."""

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1
    ceil: bool = False

    @property
    def reach(self) -> int:
        """Elements from the window's first to its last."""
        return self.dilation * (self.kernel - 1) + 1

    def outputs(self, size: int) -> int:
        """How many windows there are over an axis of `size`.

        `ceil` lets the last window hang over the end, so long as it starts before the padding there.
        """
        room = size + self.before + self.after - self.reach
        count = (room + (self.stride - 1 if self.ceil else 0)) // self.stride + 1
        if self.ceil and (count - 1) * self.stride >= size + self.before:
            count -= 1
        return max(count, 0)

    def covered(self, size: int, padding: bool) -> Array:
        """Elements of each window that lie in the input, or in input and declared padding; a window's overhang never."""
        starts = np.arange(self.outputs(size)) * self.stride - self.before
        ends = np.minimum(starts + self.kernel, size + self.after)
        if padding:
            return ends - starts
        return np.minimum(ends, size) - np.maximum(starts, 0)

    def empty(self, size: int) -> bool:
        """Whether some window holds no element of the input."""
        starts = np.arange(self.outputs(size)) * self.stride - self.before
        at = starts[:, None] + np.arange(self.kernel) * self.dilation
        return not ((at >= 0) & (at < size)).any(axis=1).all()

    def pad(self, size: int) -> tuple[int, int]:
        """Elements to add before and after, the overhang of the last window included."""
        needed = (self.outputs(size) - 1) * self.stride + self.reach
        return self.before, max(self.after, needed - size - self.before)

    def view(self, size: int, offset: int) -> slice:
        """The padded axis's elements that stand at `offset` in each window."""
        start = offset * self.dilation
        return slice(start, start + (self.outputs(size) - 1) * self.stride + 1, self.stride)


@dataclass(frozen=True, eq=False)
class Pool(Stateless):
    """Slides a window over the last axes of `(channel, *spatial)` and reduces what it sees, channel by channel.

    `kernel` and `stride` have one number per spatial axis, `padding` two: before and after each. With `ceil_mode` the last
    window may hang over the end, as in PyTorch.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool

    spatial: ClassVar[int]
    """How many spatial axes."""

    def check(self) -> None:
        lengths = (len(self.kernel), len(self.stride), len(self.padding), len(self._dilation()))
        n = self.spatial
        if lengths != (n, n, 2 * n, n):
            raise UserError(
                f"{self.kind} needs {n} numbers for kernel, stride and dilation and {2 * n} for padding (before and after "
                f"each axis), got kernel {self.kernel}, stride {self.stride}, padding {self.padding}"
            )
        if min(*self.kernel, *self.stride, *self._dilation()) < 1 or min(self.padding) < 0:
            raise UserError(f"{self.kind} needs kernel, stride and dilation ≥ 1 and padding ≥ 0")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_shape(self.kind, x, self.spatial + 1)
        require_kind(self.kind, x, *NUMBERS)
        sizes = self.output_size(x.shape[1:])
        if min(sizes) < 1:
            raise UserError(
                f"{self.kind} kernel {self.kernel} does not fit into {x}; use a smaller kernel or more padding"
            )
        if any(window.empty(size) for window, size in zip(self.windows(), x.shape[1:], strict=True)):
            raise UserError(f"{self.kind} has windows of {x} that hold nothing but padding; use less padding")
        return x.with_(shape=(x.shape[0], *sizes), kind=self.output_kind(x.kind), clock=stepwise(x))

    @abstractmethod
    def output_kind(self, kind: Kind) -> Kind:
        """The output's kind for an input of `kind`."""

    def windows(self) -> tuple[Window, ...]:
        """One window per spatial axis."""
        around = zip(self.padding[::2], self.padding[1::2], strict=True)
        return tuple(
            Window(kernel, stride, before, after, dilation, self.ceil_mode)
            for kernel, stride, (before, after), dilation in zip(
                self.kernel, self.stride, around, self._dilation(), strict=True
            )
        )

    def output_size(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Output sizes of the spatial axes for an input of those sizes."""
        return tuple(window.outputs(size) for window, size in zip(self.windows(), sizes, strict=True))

    def views(self, x: Array, fill: float) -> Iterator[Array]:
        """For each place in the window, in ascending order, what stands there in every window: `(batch, channel, *out)`."""
        windows, sizes = self.windows(), x.shape[2:]
        pads = [window.pad(size) for window, size in zip(windows, sizes, strict=True)]
        padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
        for offsets in product(*(range(k) for k in self.kernel)):
            at = (window.view(size, offset) for window, size, offset in zip(windows, sizes, offsets, strict=True))
            yield padded[(slice(None), slice(None), *at)]

    def _dilation(self) -> tuple[int, ...]:
        return (1,) * self.spatial


def window_sum(pool: Pool, x: Array) -> Array:
    """The sum of each window, in ascending place in the window, in the dtype of `x`."""
    views = pool.views(x, 0)
    total = next(views) + x.dtype.type(0)
    for view in views:
        total += view
    return total


def window_max(pool: Pool, x: Array) -> Array:
    """The largest element of each window; padding never wins, and of two zeros the positive one."""
    views = pool.views(x, -np.inf if x.dtype.kind == "f" else 0)
    top = next(views).copy()
    for view in views:
        np.maximum(top, view, out=top)
    return top + x.dtype.type(0)


def window_mean(pool: Pool, x: Array, count_padding: bool, divisor: int = 0) -> Array:
    """The sum of each window, then one division by its number of elements, or by `divisor` if that is not 0."""
    counts = window_counts(pool, x.shape[2:], count_padding, divisor)
    return window_sum(pool, x).astype(np.float32) / counts.astype(np.float32)


def window_counts(pool: Pool, sizes: tuple[int, ...], count_padding: bool, divisor: int = 0) -> Array:
    """What each window's sum is divided by, one number per place of the output."""
    counts = np.full((), divisor or 1, np.int64)
    for window, size in zip(pool.windows(), sizes, strict=True):
        covered = window.covered(size, count_padding)
        counts = counts[..., None] * (np.ones_like(covered) if divisor else covered)
    return counts
