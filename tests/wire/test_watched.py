"""A link in an event loop: what is sent later leaves in one piece, in order, and a loss is told all the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import numpy as np
import pytest

from synfire.base.errors import SynfireError, TemporaryError
from synfire.wire import batches
from synfire.wire.links import SocketLink
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import Batch, Cancel, Frame, Ping
from synfire.wire.stream import Packet


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


def ends(lost: list[SynfireError]) -> tuple[WatchedLink, SocketLink, socket.socket]:
    here, there = socket.socketpair()
    return WatchedLink(SocketLink(here, "them"), lambda _: None, lost.append), SocketLink(there, "us"), here


def numbers(packets: list[Packet]) -> list[int]:
    return [each.message.token for each in packets if isinstance(each.message, Ping)]


def test_what_is_sent_later_leaves_in_the_next_turn_and_in_order() -> None:
    async def main() -> None:
        link, peer, _ = ends([])
        link.send(Packet(Ping(1)), later=True)
        link.send(Packet(Ping(2)), later=True)
        assert peer.receive() == []
        link.send(Packet(Ping(3)))
        got: list[Packet] = []

        def whole() -> bool:
            got.extend(peer.receive())
            return len(got) == 3

        await until(whole)
        assert numbers(got) == [1, 2, 3]
        link.close()
        peer.close()

    asyncio.run(main())


def test_a_peer_that_is_gone_is_found_when_what_was_sent_later_leaves() -> None:
    async def main() -> None:
        lost: list[SynfireError] = []
        link, peer, _ = ends(lost)
        link.send(Packet(Ping(1)), later=True)
        peer.close()
        await until(lambda: bool(lost))
        assert isinstance(lost[0], TemporaryError)
        with pytest.raises(TemporaryError, match="try again"):
            link.send(Packet(Ping(2)), later=True)

    asyncio.run(main())


def test_a_link_that_was_closed_meanwhile_sends_nothing_and_tells_nobody() -> None:
    async def main() -> None:
        lost: list[SynfireError] = []
        link, peer, _ = ends(lost)
        link.send(Packet(Ping(1)), later=True)
        link.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(TemporaryError, match="closed"):
            peer.receive()
        assert not lost
        peer.close()

    asyncio.run(main())


def frame(name: str, width: int = 4) -> Packet:
    return Packet(Frame("m", "gateway", "a", name, "gw", 0), {"x": np.full((1, width), len(name), np.float32)})


def told(packets: list[Packet]) -> list[list[str]]:
    """Which requests each packet is of."""
    found = []
    for each in packets:
        message = each.message
        frames = message.frames if isinstance(message, Batch) else (message,)
        found.append([one.request for one in frames if isinstance(one, Frame | Cancel)])
    return found


def test_frames_of_a_turn_are_one_packet_and_whatever_is_sent_next_comes_after_them() -> None:
    async def main() -> None:
        link, peer, _ = ends([])
        link.send(frame("a"), later=True)
        link.send(frame("b"), later=True)
        link.send(Packet(Cancel("a")), later=True)
        link.send(frame("c"), later=True)
        assert peer.receive() == []
        got: list[Packet] = []

        def whole() -> bool:
            got.extend(peer.receive())
            return len(got) == 3

        await until(whole)
        assert told(got) == [["a", "b"], ["a"], ["c"]]
        link.send(frame("d"), later=True)
        link.send(Packet(Cancel("d")))
        assert told(peer.receive()) == [["d"], ["d"]]
        link.close()
        peer.close()

    asyncio.run(main())


def test_frames_leave_within_the_turn_where_they_are_enough() -> None:
    async def main() -> None:
        link, peer, _ = ends([])
        width = batches.GATHERED_BYTES // 4 // 2
        link.send(frame("a", width), later=True)
        assert peer.receive() == []
        link.send(frame("b", width), later=True)
        first, second = peer.receive(), peer.receive()  # memory that is lent, and what lies there
        assert told([*first, *second]) == [["a", "b"]]
        for number in range(batches.GATHERED_FRAMES + 1):
            link.send(frame(str(number)), later=True)
        (requests,) = told(peer.receive())
        assert requests == [str(number) for number in range(batches.GATHERED_FRAMES)]
        link.close()
        peer.close()

    asyncio.run(main())


def test_frames_that_wait_when_the_link_breaks_or_is_closed_go_nowhere() -> None:
    async def main() -> None:
        lost: list[SynfireError] = []
        link, peer, _ = ends(lost)
        link.send(frame("a"), later=True)
        peer.close()
        await until(lambda: bool(lost))
        assert not link.open
        other, there, _ = ends(lost)
        other.send(frame("b"), later=True)
        other.close()
        await asyncio.sleep(0)
        with pytest.raises(TemporaryError, match="closed"):
            there.receive()
        assert len(lost) == 1
        there.close()

    asyncio.run(main())
