"""What a worker does about others that it does not reach."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from synfire.base.errors import OutOfReach
from synfire.wire.batches import join
from synfire.wire.links import SocketLink
from synfire.wire.links.silence import LOOK_S, SILENT_S
from synfire.wire.messages import PROTOCOL, Failure, Frame, Hello
from synfire.wire.stream import Packet, Reader
from synfire.worker.connections import Connections
from synfire.worker.core import Core
from synfire.worker.outgoing import Outgoing
from synfire.worker.peers import READ, Peer, Watch
from synfire.worker.settings import Settings
from synfire.worker.stage import LiveRequest

FRAME = Frame("m", "a", "b", "r1", "gateway-0", 0, 0, 1, True)


class Scene:
    """A worker's connections to one other, whose host acknowledges nothing for `silent_s`; None for all that was sent."""

    def __init__(self, address: str) -> None:
        near, self.far = socket.socketpair()
        self.silent_s: float | None = None
        self.link = SocketLink(near, "the worker at that address")
        self.link.silent_s = lambda now_s: self.silent_s
        self.core = Core("w0", Settings())
        hello = Hello(PROTOCOL, "d", "w0")
        self.connections = Connections(hello, self.core, Watch(), lambda _: self.link, lambda peer, packet: None)
        self.address = address
        self.connections.send_out(Outgoing(Packet(FRAME), "gateway-0", address))

    def told(self) -> list[Failure]:
        """What the gateway is told of requests."""
        return [each.packet.message for each in self.core.outbox if isinstance(each.packet.message, Failure)]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene("tcp://10.0.0.2:4000")
    yield scene
    scene.connections.close()
    scene.far.close()


def test_requests_that_have_gone_to_a_silent_host_are_told_with_who_did_not_reach_whom(scene: Scene) -> None:
    scene.silent_s = SILENT_S
    scene.connections.look(scene.connections.look_at_s)
    (failure,) = scene.told()
    assert (failure.request, failure.kind) == ("r1", "Interrupted")
    assert failure.unreachable == OutOfReach(scene.address, "w0", SILENT_S)
    assert "nothing has been acknowledged there for 0.25 s" in failure.text
    assert scene.connections.look_at_s == math.inf
    assert scene.far.recv(1 << 16)  # what was sent before
    assert scene.far.recv(1 << 16) == b""  # it is closed


def test_as_long_as_something_waits_to_be_acknowledged_it_is_looked_at_again(scene: Scene) -> None:
    scene.silent_s = SILENT_S / 2
    at_s = scene.connections.look_at_s
    scene.connections.look(at_s)
    assert scene.connections.look_at_s == at_s + LOOK_S
    scene.silent_s = None
    scene.connections.look(at_s + LOOK_S)
    assert (scene.connections.look_at_s, scene.told()) == (math.inf, [])


def test_nobody_looks_before_it_is_time(scene: Scene) -> None:
    scene.silent_s = SILENT_S
    scene.connections.look(scene.connections.look_at_s - LOOK_S / 2)
    assert scene.told() == []


def test_workers_on_this_host_are_not_looked_after() -> None:
    scene = Scene("unix:/run/w1.sock")
    assert scene.connections.look_at_s == math.inf
    scene.connections.close()
    scene.far.close()


def later(scene: Scene, *requests: str) -> None:
    for request in requests:
        frame = msgspec.structs.replace(FRAME, request=request)
        scene.connections.send_out(Outgoing(Packet(frame), "gateway-0", scene.address), later=True)


def test_what_is_sent_later_leaves_together(scene: Scene) -> None:
    reader = Reader(1 << 20)
    assert len(reader.feed(scene.far.recv(1 << 16))) == 2  # the greeting, and the first frame
    later(scene, "r2", "r3")
    scene.far.setblocking(False)
    with pytest.raises(BlockingIOError):
        scene.far.recv(1 << 16)
    scene.connections.flush()
    packets = reader.feed(scene.far.recv(1 << 16))
    assert [each.message.request for each in packets if isinstance(each.message, Frame)] == ["r2", "r3"]
    assert not scene.connections.sending


def batch(*requests: str) -> Packet:
    frames = [msgspec.structs.replace(FRAME, request=request) for request in requests]
    return join(frames, [1] * len(frames), {"x": np.zeros((1, len(frames), 2), np.uint8)}, ["x"])


def test_each_request_fails_of_a_batch_that_does_not_get_through(scene: Scene) -> None:
    scene.far.close()
    scene.connections.send_out(Outgoing(batch("r2", "r3"), "gateway-0", scene.address))
    assert sorted({failure.request for failure in scene.told()}) == ["r1", "r2", "r3"]


def test_each_request_fails_of_a_batch_that_was_on_its_way_when_the_other_end_went(scene: Scene) -> None:
    scene.connections.send_out(Outgoing(batch("r2", "r3"), "gateway-0", scene.address))
    scene.silent_s = SILENT_S
    scene.connections.look(scene.connections.look_at_s)
    assert sorted(failure.request for failure in scene.told()) == ["r1", "r2", "r3"]


def test_the_frames_of_a_batch_are_taken_one_by_one(scene: Scene) -> None:
    taken: list[Packet] = []
    scene.connections._take = lambda peer, packet: taken.append(packet)
    peer = scene.connections._outgoing[scene.address]
    peer.who = "w1"
    scene.connections._on_packet(peer, batch("r2", "r3"))
    assert [each.message.request for each in taken if isinstance(each.message, Frame)] == ["r2", "r3"]
    assert [each.arrays["x"].shape for each in taken] == [(1, 1, 2)] * 2
    assert peer.senders == {("m", "a")}, "who is lost when the connection breaks"


def test_requests_fail_whose_frames_were_to_be_sent_later_to_a_peer_who_is_gone(scene: Scene) -> None:
    later(scene, "r2", "r3")
    scene.far.close()
    scene.connections.flush()
    assert {(each.request, each.kind) for each in scene.told()} == {
        (name, "Interrupted") for name in ("r1", "r2", "r3")
    }


@pytest.mark.parametrize(
    ("address", "distant"),
    [("", False), ("unix:/w0.sock", False), ("tcp://10.0.0.2:7", True), ("tls://10.0.0.2:7", True)],
)
def test_links_to_workers_of_other_hosts_are_looked_at_for_silence_encrypted_or_not(address, distant):
    ours, theirs = socket.socketpair()
    with theirs:
        link = SocketLink(ours, "w0")
        assert Peer(link, address).distant == distant
        link.close()


def test_a_gateway_that_waits_for_nothing_more_leaves_nothing_at_a_worker_that_drains() -> None:
    core = Core("w0", Settings())
    connections = Connections(
        Hello(PROTOCOL, "d", "w0"), core, Watch(), lambda _: pytest.fail("nobody is called"), lambda peer, packet: None
    )
    ends = [socket.socketpair() for _ in range(2)]
    peers = [Peer(SocketLink(ours, "a gateway")) for ours, _ in ends]
    for number, peer in enumerate(peers):
        connections._on_packet(peer, Packet(Hello(PROTOCOL, "d", f"gateway-{number}", gateway=True)))
        core.requests[f"r{number}"] = LiveRequest(f"r{number}", f"gateway-{number}", number, 0.0)
    connections.drain()
    assert connections.awaiting_drain == set(peers)
    connections.drained(peers[0])
    assert (connections.awaiting_drain, set(core.requests)) == ({peers[1]}, {"r1"})
    connections.drained(peers[1])
    assert (connections.awaiting_drain, core.idle) == (set(), True)
    for ours, theirs in ends:
        ours.close()
        theirs.close()


@pytest.mark.parametrize("gone", [False, True])
def test_a_worker_that_drains_tells_gateways_when_the_controller_has_let_it_go_or_is_gone(gone: bool) -> None:
    core = Core("w0", Settings())
    connections = Connections(
        Hello(PROTOCOL, "d", "w0"), core, Watch(), lambda _: pytest.fail("nobody is called"), lambda peer, packet: None
    )
    peers, ends = {}, []
    for who in ("controller-d", "gateway-0"):
        near, far = socket.socketpair()
        connections.accept(SocketLink(near, who))
        (peers[who],) = connections._incoming - set(peers.values())
        connections._on_packet(peers[who], Packet(Hello(PROTOCOL, "d", who, gateway=True)))
        ends.append(far)
    connections.drain()
    assert connections.awaiting_drain == {peers["controller-d"]}
    if gone:
        ends[0].close()
        connections._on_events(peers["controller-d"], READ)
    else:
        connections.drained(peers["controller-d"])
    assert connections.awaiting_drain == {peers["gateway-0"]}
    connections.drained(peers["gateway-0"])
    assert connections.awaiting_drain == set()
    connections.close()
    for far in ends:
        far.close()
