"""What leaves a stage when a block is computed: frames along its links, and checkpoints of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from synfire.ops import Array
from synfire.plan.plan import GATEWAY
from synfire.wire import batches
from synfire.wire.checksums import checksum
from synfire.wire.messages import Checkpoint, Departure, Frame
from synfire.wire.stream import Packet, array_bytes
from synfire.worker.job import Outcome, Whole
from synfire.worker.stage import Block, LinkTally, Visit

_JOINED_BYTES = 1 << 20
"""Arrays that take more than this, in bytes, are not joined: to encode them takes longer by far than to send several packets."""


class Outgoing(NamedTuple):
    """A packet to send: to a stage of this worker where it is `local`, else to the worker at `address`, or, where that is
    empty, to the gateway `origin`. Its arrays may be views into the `whole` of what was computed together."""

    packet: Packet
    origin: str = ""
    address: str = ""
    tally: LinkTally | None = None
    local: bool = False
    whole: Whole | None = None


def frames_of(visit: Visit, block: Block, outcome: Outcome) -> Iterator[Outgoing]:
    """A frame for each link out of the visit's stage that the request takes, and that carries some of the block's outputs; what it
    carries is counted."""
    stage = visit.stage
    alone = (Departure(GATEWAY, tuple(stage.outputs)),)
    for departure in alone if visit.first.alone else stage.departures(visit.first.lane):
        sources = stage.leaving(departure, block.number == 0)
        if not sources:
            continue
        timed = any(stage.outputs[source].timed for source in sources)
        frame = _frame(visit, departure.receiver, block, timed)
        packet = Packet(frame, {source: outcome.outputs[source] for source in sources})
        tally = stage.links.get(departure.receiver) or stage.links.setdefault(departure.receiver, LinkTally())
        local = departure.receiver != GATEWAY and not departure.address
        yield _counted(packet, visit.request.origin, departure.address, tally, local, outcome.whole)


def checkpoints_of(visit: Visit) -> Iterator[Outgoing]:
    """The state that the visit has left to its session, for the origin, if that asked for it, and memory has not spoilt it since."""
    first = visit.first
    if not (first.token and first.session) or visit.state is None:
        return
    state, stage = visit.state, visit.stage
    if visit.checksum is not None and checksum(state) != visit.checksum:
        return  # the next call finds that out
    portable = stage.program.portable(state) if stage.program is not None else state
    message = Checkpoint(
        first.model,
        stage.host.stage,
        first.session,
        first.token,
        maker=stage.maker,
        checksum=None if visit.checksum is None else checksum(portable),
    )
    yield _counted(Packet(message, portable), first.origin, "", stage.checkpoints)


def joined(leaving: Iterable[Outgoing]) -> Iterator[Outgoing]:
    """What leaves; the frames that one job has put out along one link as one packet, in the place of their first.

    So they are encoded at once, as they were computed, and the receiver decodes them at once.
    """
    groups: dict[object, list[Outgoing]] = {}
    for each in leaving:
        groups.setdefault(_company(each), []).append(each)
    for group in groups.values():
        yield from _together(group)


def _company(outgoing: Outgoing) -> object:
    """What packets agree in that can travel as one."""
    message = outgoing.packet.message
    if outgoing.whole is None or not isinstance(message, Frame):
        return id(outgoing)
    return id(outgoing.whole), message.receiver, outgoing.address or outgoing.origin, tuple(outgoing.packet.arrays)


def _together(group: Sequence[Outgoing]) -> Sequence[Outgoing]:
    """The frames as one packet, if they are all that their job gave along this link, and not too large."""
    first = group[0]
    whole, names = first.whole, first.packet.arrays
    if whole is None or len(group) < len(whole.sizes):
        return _parted(group)
    arrays = {name: whole.outputs[name] for name in names}
    if array_bytes(arrays.values()) > _JOINED_BYTES:
        return group
    return [_batch(group, whole, whole.sizes, arrays)]


def _parted(group: Sequence[Outgoing]) -> Sequence[Outgoing]:
    """The frames as one packet where they are not all that their job gave because lanes part: to copy them takes less than to encode and
    to send them one by one."""
    first, whole, frame = group[0], group[0].whole, group[0].packet.message
    if whole is None or len(group) < 2 or not isinstance(frame, Frame) or not frame.lane:
        return group
    each = [outgoing.packet.arrays for outgoing in group]
    if sum(array_bytes(arrays.values()) for arrays in each) > _JOINED_BYTES:
        return group
    axes = {name: int(name in whole.timed) for name in first.packet.arrays}
    name, axis = next(iter(axes.items()))
    sizes = tuple(arrays[name].shape[axis] for arrays in each)
    joint = {name: np.concatenate([arrays[name] for arrays in each], axis) for name, axis in axes.items()}
    return [_batch(group, whole, sizes, joint)]


def _batch(group: Sequence[Outgoing], whole: Whole, sizes: Sequence[int], arrays: Mapping[str, Array]) -> Outgoing:
    first = group[0]
    frames = [each.packet.message for each in group if isinstance(each.packet.message, Frame)]
    packet = batches.join(frames, sizes, arrays, [name for name in arrays if name in whole.timed])
    return Outgoing(packet, first.origin, first.address, first.tally)


def _counted(
    packet: Packet, origin: str, address: str, tally: LinkTally, local: bool = False, whole: Whole | None = None
) -> Outgoing:
    tally.frames += 1
    tally.array_bytes += array_bytes(packet.arrays.values())
    return Outgoing(packet, origin, address, tally, local, whole)


def _frame(visit: Visit, receiver: str, block: Block, timed: bool) -> Frame:
    first = visit.first
    return Frame(
        first.model,
        visit.stage.host.stage,
        receiver,
        first.request,
        first.origin,
        block.number,
        block.first_step,
        block.steps if timed else 0,
        block.last or not timed,
        first.session,
        first.start,
        first.end,
        visit.stage.host.epoch,
        first.alone,
        pace=first.pace,
        token=first.token,
        lane=first.lane,
    )
