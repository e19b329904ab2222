"""Whose silence is taken for a broken way, and whose is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from synfire.wire.links import Limits, SocketLink, connect
from synfire.wire.links.silence import LOOK_S, SILENT_S, Acknowledgement, Silence
from synfire.wire.messages import Frame
from synfire.wire.stream import Packet

HEARD, UNHEARD = Acknowledgement(True, 0.0), Acknowledgement(True, 1e6)
NOTHING = Acknowledgement(False, 1e6)

linux = pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells what it knows of a connection")


def looks(*found: Acknowledgement, every_s: float = LOOK_S) -> list[float]:
    """For how long each look finds the connection silent."""
    silence = Silence()
    return [silence.look(n * every_s, each) for n, each in enumerate(found, start=1000)]


def test_what_is_never_acknowledged_is_silent_since_it_was_seen_first() -> None:
    assert looks(*[UNHEARD] * 5) == pytest.approx([0.0, LOOK_S, 2 * LOOK_S, 3 * LOOK_S, 4 * LOOK_S])


def test_the_peer_was_heard_of_later_than_the_first_was_sent() -> None:
    assert looks(UNHEARD, UNHEARD, UNHEARD, Acknowledgement(True, LOOK_S / 2))[-1] == pytest.approx(LOOK_S / 2)


def test_who_acknowledges_now_and_then_is_not_silent() -> None:
    assert max(looks(*[UNHEARD, UNHEARD, HEARD] * 20)) <= 2 * LOOK_S + 1e-9


def test_an_idle_connection_is_not_silent_and_begins_anew() -> None:
    assert looks(*[UNHEARD] * 5, NOTHING, UNHEARD, UNHEARD)[5:] == pytest.approx([0.0, 0.0, LOOK_S])


def test_time_in_which_nobody_looked_is_nobodys_silence() -> None:
    assert looks(*[UNHEARD] * 9, every_s=2 * SILENT_S) == [0.0] * 9


def test_one_packet_that_is_lost_is_sent_again_and_acknowledged_in_time() -> None:
    """TCP sends the last packet again after 0.2 s: between two hosts of one site the answer comes before the verdict."""
    first_timeout_s, there_and_back_s = 0.2, 0.02
    assert first_timeout_s + there_and_back_s + LOOK_S < SILENT_S


@contextmanager
def listener(backlog: int) -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(backlog)
        yield listening


def address(listening: socket.socket) -> str:
    return f"tcp://127.0.0.1:{listening.getsockname()[1]}"


def packet(size: int) -> Packet:
    frame = Frame("m", "a", "b", "r", "g", 0, 0, 1, True)
    return Packet(frame, {"x": np.random.default_rng(0).random((1, 1, size), np.float32)})


@linux
def test_a_peer_that_lives_and_reads_nothing_is_not_silent() -> None:
    """Its window is closed, for however long. `TCP_USER_TIMEOUT` would break the connection."""
    with listener(8) as listening:
        link = connect(address(listening), "b", Limits())
        peer, _ = listening.accept()
        now_s = 1000.0
        while not link.pending:  # until neither kernel takes any more
            link.send(packet(1 << 20))
        for _ in range(100):
            now_s += LOOK_S
            found = link.silent_s(now_s)
            assert found is not None
            assert found < SILENT_S
        link.close()
        peer.close()


@linux
def test_a_connection_that_nobody_answers_is_silent() -> None:
    with listener(0) as listening:
        crowd = [
            connect(address(listening), "b", Limits()) for _ in range(4)
        ]  # more than the kernel lets wait: it drops them
        link = crowd[-1]
        link.send(packet(1))
        found = [link.silent_s(1000.0 + n * LOOK_S) for n in range(20)]
        assert found[0] == 0.0
        assert any(each is not None and each >= SILENT_S for each in found)
        for each in crowd:
            each.close()


def test_a_connection_within_a_host_is_never_looked_at() -> None:
    near, far = socket.socketpair()
    link = SocketLink(near, "b")
    link.send(packet(1))
    assert link.silent_s(1000.0) is None
    link.close()
    far.close()


@linux
def test_what_has_not_left_is_known_until_it_has() -> None:
    with listener(1) as listening, socket.create_connection(listening.getsockname()) as caller:
        taken, _ = listening.accept()
        with taken:
            assert not Acknowledgement.of(caller).queued
            caller.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    caller.send(bytes(1 << 20))
            assert Acknowledgement.of(caller).queued
