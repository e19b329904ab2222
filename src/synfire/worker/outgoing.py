"""What leaves a stage when a block is computed: frames along its links, and checkpoints of sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from synfire.ops import Array
from synfire.plan.plan import GATEWAY
from synfire.wire.messages import Checkpoint, Departure, Frame
from synfire.wire.stream import Packet, array_bytes
from synfire.worker.stage import Block, LinkTally, Visit


class Outgoing(NamedTuple):
    """A packet to send: to a stage of this worker where it is `local`, else to the worker at `address`, or, where that is
    empty, to the gateway `origin`."""

    packet: Packet
    origin: str = ""
    address: str = ""
    tally: LinkTally | None = None
    local: bool = False


def frames_of(visit: Visit, block: Block, outputs: Mapping[str, Array]) -> Iterator[Outgoing]:
    """A frame for each link out of the visit's stage that carries some of the block's outputs; what it carries is counted."""
    stage = visit.stage
    alone = (Departure(GATEWAY, tuple(stage.outputs)),)
    for departure in alone if visit.first.alone else stage.host.departures:
        sources = stage.leaving(departure, block.number == 0)
        if not sources:
            continue
        timed = any(stage.outputs[source].timed for source in sources)
        frame = _frame(visit, departure.receiver, block, timed)
        packet = Packet(frame, {source: outputs[source] for source in sources})
        tally = stage.links.setdefault(departure.receiver, LinkTally())
        local = departure.receiver != GATEWAY and not departure.address
        yield _counted(packet, visit.request.origin, departure.address, tally, local)


def checkpoints_of(visit: Visit) -> Iterator[Outgoing]:
    """The state that the visit has left to its session, for the origin, if that asked for it."""
    first, state = visit.first, visit.state
    if first.token and first.session and state is not None:
        message = Checkpoint(
            first.model,
            visit.stage.host.stage,
            first.session,
            first.token,
            maker=visit.stage.maker,
            checksum=visit.checksum,
        )
        yield _counted(Packet(message, state), first.origin, "", visit.stage.checkpoints)


def _counted(packet: Packet, origin: str, address: str, tally: LinkTally, local: bool = False) -> Outgoing:
    tally.frames += 1
    tally.array_bytes += array_bytes(packet.arrays.values())
    return Outgoing(packet, origin, address, tally, local)


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
    )
