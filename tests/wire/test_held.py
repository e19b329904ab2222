"""A link whose packets are held back is as good a link as any, but late."""

from __future__ import annotations

import socket
import time

from synfire.testing.links import check_link
from synfire.wire.links import Limits, SocketLink
from synfire.wire.messages import Cancel
from synfire.wire.stream import Packet

SMALL = Limits(max_frame_bytes=1 << 23, queue_bytes=1 << 20)


class Pair:
    def __init__(self) -> None:
        one, other = socket.socketpair()
        self.near, self.far = SocketLink(one, "b", SMALL), SocketLink(other, "a", SMALL)

    def close(self) -> None:
        self.near.close()
        self.far.close()


def slow(delay_s: float, for_s: float) -> Pair:
    pair = Pair()
    pair.near.hold_back(delay_s, for_s)
    return pair


def taken(pair: Pair, count: int) -> list[str]:
    """The requests of so many `Cancel` messages, as they arrive."""
    pair.far._socket.setblocking(True)
    names: list[str] = []
    while len(names) < count:
        names += [packet.message.request for packet in pair.far.receive()]
    return names


def test_a_link_that_holds_back_conforms() -> None:
    check_link(lambda: slow(0.001, 60.0))


def test_a_packet_arrives_after_its_delay() -> None:
    pair = slow(0.1, 60.0)
    began_s = time.monotonic()
    pair.near.send(Packet(Cancel("1")))
    assert taken(pair, 1) == ["1"]
    assert time.monotonic() - began_s >= 0.1
    pair.close()


def test_packets_keep_their_order_when_the_delay_ends_or_grows() -> None:
    pair = slow(0.05, 0.02)
    names = [str(number) for number in range(200)]
    for name in names[:100]:
        pair.near.send(Packet(Cancel(name)))
    pair.near.hold_back(0.001, 0.01)
    for name in names[100:]:
        pair.near.send(Packet(Cancel(name)))
    assert taken(pair, 200) == names
    pair.close()


def test_a_link_is_as_before_when_the_delay_is_over() -> None:
    pair = slow(10.0, 0.0)
    held = pair.near._held
    assert held is not None
    held._thread.join(10.0)
    pair.near.send(Packet(Cancel("1")))
    assert taken(pair, 1) == ["1"]
    assert pair.near._held is None
    pair.close()
