"""Which outputs an input reaches through a convolution, and the weights laid out for that.

An input pixel adds to a few neighbouring pixels of an output row. With channels last these lie side by side, and so do
their weights once the kernel's columns are turned round: one run of a row to add, for each active channel. A linear
synapse is the same with one pixel. With a stride s there are s kinds of pixels, which reach through every s-th column of the
kernel; with a dilation that is no divisor of the stride, each column is a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from synfire.engines.cpu.vectors import LANES
from synfire.ops import Array

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Run:
    """Neighbouring outputs along one axis: `taps` are the places in the kernel that lead to them and to some that lie outside.

    Of these the first `skipped` lie before the first output; the run covers `length` from `start` on.
    """

    taps: tuple[int, ...]
    skipped: int
    start: int
    length: int


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution: `outputs` of `stride`, from `inputs` with `before` zeros in front.

    Each input stands for `together` neighbouring places of it: see `joined`.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    before: int = 0
    dilation: int = 1
    together: int = 1

    def taps(self, at: int) -> list[tuple[int, int]]:
        """(output, place in the kernel) for the input at `at`, outputs ascending; some may lie outside."""
        found = [(at * self.together + self.before - tap * self.dilation, tap) for tap in reversed(range(self.kernel))]
        return [(place // self.stride, tap) for place, tap in found if place % self.stride == 0]

    def inside(self, at: int) -> list[tuple[int, int]]:
        """`taps` without those that lie outside."""
        return [(output, tap) for output, tap in self.taps(at) if 0 <= output < self.outputs]

    def runs(self, at: int) -> list[Run]:
        """The taps joined where outputs are neighbours, as far as these lie inside."""
        joined: list[list[tuple[int, int]]] = []
        for tap in self.taps(at):
            if joined and joined[-1][-1][0] + 1 == tap[0]:
                joined[-1].append(tap)
            else:
                joined.append([tap])
        return [run for each in joined for run in self._inside(each)]

    def _inside(self, run: list[tuple[int, int]]) -> Iterator[Run]:
        within = [k for k, (output, _) in enumerate(run) if 0 <= output < self.outputs]
        if within:
            yield Run(tuple(tap for _, tap in run), within[0], run[within[0]][0], len(within))


@dataclass(frozen=True)
class Reach:
    """Weights, and the tables by which the kernel finds its way; all offsets are in bytes.

    The current is an image of `rows` rows of `row` floats, `pitch` apart; between them is room for what the last vector of a
    run writes beyond it. `start` is a row without any input.
    All sizes and tables are those of one tile of the output channels, and the same for each.
    """

    weight: Array  # (tile, kernel row, kind of run, input channel, output run padded to vectors)
    start: Array  # (tile, pitch)
    rows: int
    row: int
    pitch: int
    begun: Array  # for each input row, the output rows that it and earlier ones reach
    done: Array  # and those that no later one reaches
    line_index: Array
    lines: Array  # (output row's offset, weight's offset) each
    run_index: Array
    runs: Array  # (output's offset, weight's offset, vectors) each

    @property
    def tiles(self) -> int:
        return len(self.weight)

    @property
    def across(self) -> int:
        """Bytes from one input channel's weights to the next."""
        return int(self.weight.strides[-2])


def joined(weight: Array, along: Axis, together: int) -> tuple[Array, Axis]:
    """The same synapse, without dilation, with `together` neighbouring inputs of a row as one of so many times the channels.

    Channels last these are the same numbers in the same order. Zeros stand where only some of the neighbours reach.
    """
    outputs, inputs, rows, kernel = weight.shape
    wide = np.zeros((outputs, together, inputs, rows, kernel + together - 1), np.float32)
    for k in range(together):
        first = together - 1 - k
        wide[:, k, :, :, first : first + kernel] = weight
    axis = replace(
        along,
        inputs=along.inputs // together,
        kernel=wide.shape[-1],
        before=along.before + together - 1,
        together=together,
    )
    return wide.reshape(outputs, -1, rows, wide.shape[-1]), axis


def reach(weight: Array, bias: Array, down: Axis, along: Axis, tile: int = 0) -> Reach:
    """The reach of `weight` `(output, input, row, column)`, in tiles of `tile` outputs, which divides them; 0 for one."""
    outputs = tile or weight.shape[0]
    runs = [along.runs(x) for x in range(along.inputs)]
    kinds = sorted({run.taps for each in runs for run in each}) or [(0,)]
    widths = (_vectors(run.skipped * outputs) + _vectors(run.length * outputs) for each in runs for run in each)
    laid = _laid(weight, kinds, max(widths, default=1), outputs)

    def described(run: Run) -> tuple[int, int, int]:
        of = kinds.index(run.taps) * laid.strides[2] + run.skipped * outputs * _FLOAT_BYTES
        return run.start * outputs * _FLOAT_BYTES, of, _vectors(run.length * outputs)

    row = along.outputs * outputs
    pitch = row + LANES if along.inputs > 1 or along.outputs > 1 else row
    start = np.stack([np.resize(each, pitch) for each in bias.reshape(-1, outputs)]) + np.float32(0)
    lines = [
        [(y * pitch * _FLOAT_BYTES, tap * laid.strides[1]) for y, tap in down.inside(at)] for at in range(down.inputs)
    ]
    reached = _table([[described(run) for run in each] for each in runs], 3)
    return Reach(laid, start, down.outputs, row, pitch, *_progress(down), *_table(lines, 2), *reached)


def _progress(down: Axis) -> tuple[Array, Array]:
    """For each input row, how many output rows are begun with it, and how many are done after it."""
    reached = [[output for output, _ in down.inside(at)] for at in range(down.inputs)]
    begun = np.maximum.accumulate([max(rows, default=-1) + 1 for rows in reached])
    open_ = [min(rows, default=down.outputs) for rows in reached[1:]]
    done = np.minimum.accumulate([*open_, down.outputs][::-1])[::-1]
    return np.maximum(begun, done).astype(np.int64), np.ascontiguousarray(done, np.int64)


def _vectors(numbers: int) -> int:
    return -(-numbers // LANES)


def _laid(weight: Array, kinds: list[tuple[int, ...]], vectors: int, outputs: int) -> Array:
    """The weights by tile of outputs, kernel row, kind of run and input, each run padded by zeros to `vectors`."""
    _, inputs, rows, _ = weight.shape
    vectors = max(vectors, *(_vectors(len(taps) * outputs) for taps in kinds), 1)
    tiles = weight.reshape(-1, outputs, *weight.shape[1:])
    laid = aligned((len(tiles), rows, len(kinds), inputs, vectors * LANES), np.float32)
    laid[:] = 0
    for k, taps in enumerate(kinds):
        columns = tiles[..., list(taps)].transpose(0, 3, 2, 4, 1)  # (tile, row, input, tap, output)
        laid[:, :, k, :, : len(taps) * outputs] = columns.reshape(len(tiles), rows, inputs, -1)
    return laid


def aligned(shape: tuple[int, ...], dtype: type) -> Array:
    """An uninitialised array at a multiple of 64 bytes, with as much to spare behind it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 128, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + size].view(dtype).reshape(shape)


def _table(rows: Sequence[Sequence[tuple[int, ...]]], width: int) -> tuple[Array, Array]:
    """Where each row's entries begin, and all entries."""
    index = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return index, np.array([entry for row in rows for entry in row], np.int64).reshape(-1, width)


def grouped(weight: Array, groups: int) -> Array:
    """The weights of a convolution in groups as those of one: zeros stand where there is no synapse."""
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[:2]
    whole = np.zeros((outputs, inputs * groups, *weight.shape[2:]), np.float32)
    ends = range(0, outputs + 1, outputs // groups)
    for g, (start, end) in enumerate(pairwise(ends)):
        whole[start:end, g * inputs : (g + 1) * inputs] = weight[start:end]
    return whole
