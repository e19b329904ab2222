"""Frames of several requests as one packet: what a job has computed together travels together, encoded and decoded once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from synfire.base.errors import SynfireError, UserError
from synfire.ops import Array
from synfire.wire.messages import Batch, Frame
from synfire.wire.stream import Packet


def join(frames: Sequence[Frame], sizes: Sequence[int], arrays: Mapping[str, Array], timed: Collection[str]) -> Packet:
    """One packet of frames along one link. `arrays` hold the samples of all, `sizes` of each, one after the other, along the batch
    axis: the second one of those that are `timed`, else the first."""
    return Packet(Batch(tuple(frames), tuple(sizes), tuple(timed)), arrays)


def part(packet: Packet) -> Sequence[Packet]:
    """The frames of a batch, each with its own samples, which are views; any other packet as it is.

    Where the batch cannot be parted, each frame has the `UserError` for its fault.
    """
    batch = packet.message
    if not isinstance(batch, Batch):
        return (packet,)
    fault = packet.fault or _misfit(batch, packet.arrays)
    if fault is not None:
        return [Packet(frame, fault=fault) for frame in batch.frames]
    return [
        Packet(
            frame,
            {name: _samples(array, name in batch.timed, end - size, size) for name, array in packet.arrays.items()},
        )
        for frame, size, end in zip(batch.frames, batch.sizes, _ends(batch.sizes), strict=True)
    ]


def _ends(sizes: Sequence[int]) -> list[int]:
    end, ends = 0, []
    for size in sizes:
        end += size
        ends.append(end)
    return ends


def _samples(array: Array, timed: bool, first: int, size: int) -> Array:
    return array[:, first : first + size] if timed else array[first : first + size]


def _misfit(batch: Batch, arrays: Mapping[str, Array]) -> SynfireError | None:
    total = sum(batch.sizes)
    if len(batch.sizes) != len(batch.frames) or min(batch.sizes, default=0) < 1:
        return UserError(f"a batch of {len(batch.frames)} frames says {batch.sizes} samples; the packet is damaged")
    for name, array in arrays.items():
        axis = int(name in batch.timed)
        if array.ndim <= axis or array.shape[axis] != total:
            return UserError(
                f"{name!r} of a batch of {total} samples has shape {list(array.shape)}; the packet is damaged"
            )
    return None
