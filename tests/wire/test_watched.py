"""A link in an event loop: what is sent later leaves in one piece, in order, and a loss is told all the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from synfire.base.errors import SynfireError, TemporaryError
from synfire.wire.links import SocketLink
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import Ping
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
