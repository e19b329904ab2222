"""Frames of several requests as one packet: what was computed together, or leaves in one turn, travels together, encoded and decoded once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from synfire.base.errors import SynfireError, UserError
from synfire.ops import Array
from synfire.wire.messages import Batch, Frame
from synfire.wire.stream import Packet

GATHERED_BYTES, GATHERED_FRAMES = 1 << 16, 64
"""Frames of at most so many bytes are gathered, and leave as soon as they are as many together, or so many: to copy more takes as long as to
encode each by itself, and who receives them shall begin before the last one is there."""


def join(frames: Sequence[Frame], sizes: Sequence[int], arrays: Mapping[str, Array], timed: Collection[str]) -> Packet:
    """One packet of frames along one link. `arrays` hold the samples of all, `sizes` of each, one after the other, along the batch
    axis: the second one of those that are `timed`, else the first."""
    return Packet(Batch(tuple(frames), tuple(sizes), tuple(timed)), arrays)


def weight(packet: Packet) -> int:
    """What a frame is, in bytes, that may wait for others to be one packet with them: a small one, without time steps. 0 for any other packet."""
    if not isinstance(packet.message, Frame) or packet.message.steps:
        return 0
    total, samples = 0, -1
    for array in packet.arrays.values():
        if array.dtype.hasobject or samples not in (-1, len(array)):
            return 0
        samples = len(array)
        total += array.nbytes
    return total if samples > 0 and total <= GATHERED_BYTES else 0


def gather(packets: Iterable[Packet]) -> Iterator[Packet]:
    """Frames that have a `weight`, in their order; those that come one after the other with arrays alike are one packet."""
    company: list[Packet] = []
    for packet in packets:
        if company and not _alike(company[0].arrays, packet.arrays):
            yield _gathered(company)
            company = []
        company.append(packet)
    if company:
        yield _gathered(company)


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


def _gathered(company: Sequence[Packet]) -> Packet:
    first = company[0].arrays
    if len(company) == 1:
        return company[0]
    frames = [each.message for each in company if isinstance(each.message, Frame)]
    sizes = [len(next(iter(each.arrays.values()))) for each in company]
    return join(frames, sizes, {name: np.concatenate([each.arrays[name] for each in company]) for name in first}, ())


def _alike(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether the samples of both can lie in one array, by each name."""
    if one.keys() != other.keys():
        return False
    return all(
        array.dtype == other[name].dtype and array.shape[1:] == other[name].shape[1:] for name, array in one.items()
    )


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
