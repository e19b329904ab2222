"""The conformance suite of links: what `synfire.wire.links.Link` promises, checked on a pair of connected ends."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np

from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.ops import Array
from synfire.wire.links import Link
from synfire.wire.messages import Frame
from synfire.wire.stream import Packet

_PATIENCE_S = 20.0


class LinkPair(Protocol):
    """Two ends that are joined: what is sent at `near` comes out at `far`.

    For a link whose far end answers instead of listening (HTTP), `far` is `near`, and the peer echoes every frame.
    """

    near: Link
    far: Link

    def close(self) -> None: ...


def check_link(make: Callable[[], LinkPair]) -> None:
    """Raise `AssertionError` unless links made by `make` keep every promise that all links share."""
    for check in (_keeps_order_and_bits, _carries_more_than_buffers_hold, _can_be_closed_twice):
        pair = make()
        try:
            check(pair)
        finally:
            pair.close()


def check_stream_link(make: Callable[[], LinkPair]) -> None:
    """`check_link`, and what holds for links whose other end is a synfire process too."""
    check_link(make)
    for check in (
        _sends_later,
        _fills_and_empties,
        _tells_of_a_lost_peer_after_what_it_sent,
        _refuses_to_send_to_a_lost_peer,
    ):
        pair = make()
        try:
            check(pair)
        finally:
            pair.close()


def check_size_limit(make: Callable[[], LinkPair], max_frame_bytes: int) -> None:
    """Raise `AssertionError` unless a packet beyond `max_frame_bytes` is refused and the link goes on."""
    pair = make()
    try:
        large = Packet(_frame(0), {"x": np.ones((1, 1, max_frame_bytes // 4 + 1), np.float32)})
        error = _error_of(lambda: pair.near.send(large))
        assert isinstance(error, UserError), f"a packet beyond max_frame_bytes was not refused: {error!r}"
        assert "max_frame_bytes" in str(error), f"the refusal does not name the setting: {error}"
        small = Packet(_frame(1), {"x": np.ones((1, 1, 2), np.float32)})
        pair.near.send(small)
        _assert_same(_take(pair, 1), [small])
    finally:
        pair.close()


def _keeps_order_and_bits(pair: LinkPair) -> None:
    rng = np.random.default_rng(0)
    arrays: list[Array] = [
        (rng.random((2, 1, 300)) < 0.02).astype(np.uint8),
        (rng.random((1, 3, 300)) < 0.5).astype(np.uint8),
        rng.integers(0, 9, (1, 2, 40)).astype(np.int32),
        rng.normal(size=(1, 1, 5, 6)).astype(np.float32),
        np.array([[[-0.0, 0.0, 1e-45]]], np.float32),
        rng.integers(-5, 5, (1, 1, 3)),
    ]
    sent = [Packet(_frame(i, each.shape[0]), {"x": each}) for i, each in enumerate(arrays * 5)]
    for packet in sent:
        pair.near.send(packet)
    _assert_same(_take(pair, len(sent)), sent)


def _carries_more_than_buffers_hold(pair: LinkPair) -> None:
    big = np.random.default_rng(1).normal(size=(1, 4, 250_000)).astype(np.float32)
    sent = [Packet(_frame(i), {"x": big}) for i in range(3)]
    for packet in sent:
        pair.near.send(packet)
    _assert_same(_take(pair, len(sent)), sent)


def _can_be_closed_twice(pair: LinkPair) -> None:
    pair.near.close()
    pair.near.close()


def _sends_later(pair: LinkPair) -> None:
    """What may wait has left after `flush`, before what is sent then."""
    sent = [Packet(_frame(i), {"x": np.full((1, 1, 4), i, np.float32)}) for i in range(6)]
    for packet in sent[:5]:
        pair.near.send(packet, later=True)
    pair.near.flush()
    pair.near.send(sent[5])
    _assert_same(_take(pair, len(sent)), sent)


def _fills_and_empties(pair: LinkPair) -> None:
    """A peer that does not read makes the link full; one that reads again makes it usable."""
    array = np.random.default_rng(2).normal(size=(1, 1, 100_000)).astype(np.float32)
    count = 0
    while not pair.near.full:
        pair.near.send(Packet(_frame(count), {"x": array}))
        count += 1
        assert count < 10_000, "the link never calls itself full"
    assert len(_take(pair, count)) == count
    assert not pair.near.full, "the link is empty and still calls itself full"


def _tells_of_a_lost_peer_after_what_it_sent(pair: LinkPair) -> None:
    sent = Packet(_frame(0), {"x": np.ones((1, 1, 4), np.float32)})
    pair.near.send(sent)
    pair.near.close()
    got: list[Packet] = []
    error = None
    for _ in range(1000):
        _wait(pair)
        try:
            got += pair.far.receive()
        except TemporaryError as lost:
            error = lost
            break
    _assert_same(got, [sent])
    assert error is not None, "the loss of the peer was never told"
    assert pair.far.peer in str(error), f"the message does not name the peer: {error}"


def _refuses_to_send_to_a_lost_peer(pair: LinkPair) -> None:
    pair.far.close()
    packet = Packet(_frame(0), {"x": np.ones((1, 1, 4), np.float32)})
    error = None
    for _ in range(1000):
        error = error or _error_of(lambda: pair.near.send(packet)) or _error_of(pair.near.flush)
    assert isinstance(error, TemporaryError), f"sending to a lost peer never failed: {error!r}"
    assert "try again" in str(error), f"the message names no cure: {error}"


def _error_of(act: Callable[[], object]) -> SynfireError | None:
    try:
        act()
    except SynfireError as error:
        return error
    return None


def _take(pair: LinkPair, count: int) -> list[Packet]:
    """Pump both ends until `count` packets have arrived."""
    got: list[Packet] = []
    while len(got) < count:
        _wait(pair)
        if pair.near.pending:
            pair.near.flush()
        got += pair.far.receive()
    return got


def _wait(pair: LinkPair) -> None:
    if pair.far.fileno() < 0:
        return
    writing = [pair.near] if pair.near.pending else []
    ready = select.select([pair.far], writing, [], _PATIENCE_S)
    assert any(ready), f"nothing arrived within {_PATIENCE_S} s"


def _frame(number: int, steps: int = 1) -> Frame:
    return Frame("m", "a", "b", "r", "gw", number, number, steps)


def _assert_same(got: list[Packet], sent: list[Packet]) -> None:
    assert len(got) == len(sent), f"{len(sent)} packets were sent, {len(got)} came"
    for one, other in zip(got, sent, strict=True):
        frame, wanted = one.message, other.message
        assert isinstance(frame, Frame), f"a {type(frame).__name__} came instead of a frame: {frame}"
        assert isinstance(wanted, Frame)
        assert frame.number == wanted.number, f"frame {frame.number} came where {wanted.number} was next"
        assert msgspec.structs.replace(frame, tensors=(), sender="", receiver="") == msgspec.structs.replace(
            wanted, tensors=(), sender="", receiver=""
        )
        for name, array in other.arrays.items():
            back = one.arrays[name]
            assert (back.dtype, back.shape) == (array.dtype, array.shape), f"{name!r} changed its type"
            assert back.tobytes() == np.ascontiguousarray(array).tobytes(), f"{name!r} changed its bits"
