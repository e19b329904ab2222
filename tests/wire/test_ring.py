"""Frames that travel through memory which one process lends to another: the same bits, the same contract, and no trace left."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError, UserError
from synfire.testing.links import check_size_limit, check_stream_link
from synfire.wire.links import Limits, SocketLink
from synfire.wire.links import ring as ring_file
from synfire.wire.links.ring import BorrowedRing, LentRing
from synfire.wire.messages import Frame
from synfire.wire.stream import OFFER, Packet, Reader, pack, refer

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no memfd_create")

SMALL = Limits(max_frame_bytes=1 << 23, queue_bytes=1 << 20, ring_bytes=1 << 18)
LARGE = np.random.default_rng(0).normal(size=(1, 1, 20_000)).astype(np.float32)


class Pair:
    def __init__(self, limits=SMALL, far=None):
        one, other = socket.socketpair()
        self.near, self.far = SocketLink(one, "b", limits), SocketLink(other, "a", far or limits)

    def close(self):
        self.near.close()
        self.far.close()


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.close()


def frame(number, array=LARGE):
    return Packet(Frame("m", "a", "b", "r", "gw", number, number, array.shape[0]), {"x": array})


def received(pair, count):
    packets = []
    while len(packets) < count:
        if pair.near.pending:
            pair.near.flush()
        assert select.select([pair.far], [], [], 20)[0], "nothing arrived"
        packets += pair.far.receive()
    return packets


def lent_and_borrowed(size):
    lent = LentRing(size)
    return lent, BorrowedRing(os.dup(lent.descriptor))


@pytest.mark.parametrize("ring_bytes", [1 << 10, 1 << 18, 1 << 24])
def test_the_link_conforms_with_a_ring_smaller_and_larger_than_its_frames(ring_bytes):
    limits = Limits(max_frame_bytes=1 << 23, queue_bytes=1 << 20, ring_bytes=ring_bytes, ring_from_bytes=1)
    check_stream_link(lambda: Pair(limits))
    check_size_limit(lambda: Pair(limits), limits.max_frame_bytes)


def test_a_large_payload_stays_out_of_the_socket(pair):
    pair.near.send(frame(0))
    waiting = len(pair.far._socket.recv(1 << 20, socket.MSG_PEEK))
    assert waiting == len(OFFER), "the descriptor goes ahead"
    (packet,) = received(pair, 1)
    assert packet.arrays["x"].tobytes() == LARGE.tobytes()
    size = pair.near.send(frame(1))
    assert len(pair.far._socket.recv(1 << 20, socket.MSG_PEEK)) < 300 < LARGE.nbytes < size


def test_what_was_received_stays_when_the_ring_is_written_to_again(pair):
    for number in range(50):
        pair.near.send(frame(number, LARGE + np.float32(number)))
        (packet,) = received(pair, 1)
        if number == 0:
            first = packet.arrays["x"]
    assert first.tobytes() == LARGE.tobytes()


def test_frames_beyond_the_ring_take_the_socket_in_order(pair):
    for number in range(12):  # 80 kB each into a ring of 256 kB, and nobody reads
        pair.near.send(frame(number))
    packets = received(pair, 12)
    assert [each.message.number for each in packets] == list(range(12))
    assert all(each.arrays["x"].tobytes() == LARGE.tobytes() for each in packets)


def test_both_sides_lend_memory_of_their_own(pair):
    pair.near.send(frame(0))
    received(pair, 1)
    pair.far.send(frame(1, LARGE * 2))
    select.select([pair.near], [], [], 20)
    packets = pair.near.receive() or pair.near.receive()
    assert packets[0].arrays["x"].tobytes() == (LARGE * 2).tobytes()


def test_without_shared_memory_frames_take_the_socket_and_it_is_logged(pair, monkeypatch, caplog):
    def refused(*arguments):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(ring_file.os, "memfd_create", refused)
    with caplog.at_level("WARNING", "synfire"):
        for number in range(2):
            pair.near.send(frame(number))
    assert len(received(pair, 2)) == 2
    assert [each.message for each in caplog.records].count(caplog.records[0].message) == 1
    assert "no memory is shared with b" in caplog.text
    assert "take the socket" in caplog.text


def test_a_slowed_link_delays_what_lies_in_the_ring_too(pair):
    pair.near.send(frame(0))
    pair.near.hold_back(0.05, 10.0)
    pair.near.send(frame(1))
    assert [each.message.number for each in received(pair, 1)] == [0]
    assert not select.select([pair.far], [], [], 0)[0]
    assert [each.message.number for each in received(pair, 1)] == [1]


PEER = """
import socket, sys, time
import numpy as np
from synfire.wire.links import SocketLink
from synfire.wire.messages import Frame
from synfire.wire.stream import Packet
link = SocketLink(socket.socket(fileno=int(sys.argv[1])), "parent")
link.send(Packet(Frame("m", "a", "b", "r", "gw", 0, 0, 1), {"x": np.arange(40_000, dtype=np.float64).reshape(1, 1, -1)}))
time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_peer_is_a_broken_link_after_what_it_sent_and_leaves_nothing():
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    one, other = socket.socketpair()
    link = SocketLink(one, "the child")
    with subprocess.Popen([sys.executable, "-c", PEER, str(other.fileno())], pass_fds=[other.fileno()]) as child:
        other.close()
        packets = []
        while not packets:
            assert select.select([link], [], [], 20)[0], "nothing arrived"
            packets = link.receive()
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert packets[0].arrays["x"][0, 0].tolist() == list(range(40_000))
        with pytest.raises(TemporaryError, match="the child is broken"):
            link.receive()
    link.close()
    after = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    assert not {each for each in after - before if "synfire" in each}


@given(st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=60), st.integers(1, 16))
@settings(max_examples=200, deadline=None)
def test_a_piece_is_never_overwritten_before_it_is_read(story, lines):
    lent, borrowed = lent_and_borrowed(64 * lines)
    waiting = []
    for number, (length, read) in enumerate(story):
        piece = bytes([number % 251]) * length
        place = lent.put([piece[: length // 2], piece[length // 2 :]], length)
        assert place is not None or waiting or length > 64 * lines, "an empty ring refused what it could hold"
        if place is not None:
            waiting.append((place, piece))
        while waiting and read:
            place, piece = waiting.pop(0)
            assert bytes(borrowed.piece(place, len(piece))) == piece
            borrowed.done(place, len(piece))
            read = number % 2 == 0
    for place, piece in waiting:
        assert bytes(borrowed.piece(place, len(piece))) == piece
    lent.close_descriptor()


def test_a_little_used_ring_stays_at_its_front():
    lent, borrowed = lent_and_borrowed(1 << 16)
    for _ in range(5):
        place = lent.put([b"x" * 1000], 1000)
        assert place % (1 << 16) == 0
        borrowed.done(place, 1000)
    lent.close_descriptor()


def test_a_peer_that_claims_to_have_read_what_was_never_written_gets_nothing():
    lent, borrowed = lent_and_borrowed(1 << 12)
    borrowed.done(1 << 40, 0)
    assert lent.put([b"x"], 1) is None
    lent.close_descriptor()


def test_memory_that_could_be_cut_short_is_refused():
    descriptor = os.memfd_create("unsealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 1 << 12)
    with pytest.raises(UserError, match="not sealed"):
        BorrowedRing(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_cannot_be_shared_is_refused():
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(UserError, match="cannot be read"):
        BorrowedRing(reading)


@pytest.mark.parametrize(("place", "length"), [(0, 5000), (4000, 200), (1, 1 << 40), ((1 << 64) - 1, 0)])
def test_a_place_outside_of_the_ring_is_refused(place, length):
    _, borrowed = lent_and_borrowed(1 << 12)
    with pytest.raises(UserError, match="damaged"):
        borrowed.piece(place, length)


def test_a_payload_in_memory_that_was_not_lent_is_refused():
    (header, *_), _ = pack(frame(0))
    with pytest.raises(UserError, match="not lent"):
        Reader(1 << 20).feed(refer(header, 0))


def test_who_lends_nothing_still_reads_what_is_lent():
    pair = Pair(SMALL, Limits(ring_bytes=0))
    pair.near.send(frame(0))
    assert received(pair, 1)[0].arrays["x"].tobytes() == LARGE.tobytes()
    pair.close()
