"""Packets come out of a byte stream as they went in, however it was cut; what is no packet is refused."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import (
    Bug,
    DeadlineExceeded,
    Overloaded,
    PermanentError,
    TemporaryError,
    UnknownName,
    UserError,
)
from synfire.wire.messages import (
    PROTOCOL,
    Advance,
    Arrival,
    Cancel,
    Departure,
    Describe,
    Description,
    Drained,
    Draining,
    Failure,
    Forget,
    Frame,
    Hello,
    Host,
    Hosted,
    LinkCount,
    Ping,
    Pong,
    StageCount,
    Unhost,
    check_hello,
    error_of,
    failure_of,
)
from synfire.wire.stream import Packet, Reader, pack

FRAME = Frame("m", "a", "b", "r1", "gw", 3, 6, 2, False, "s", True, False, 4)
MESSAGES = [
    Hello(PROTOCOL, "d", "w0"),
    Failure("r", "UserError", "no"),
    Cancel("r"),
    Forget("m", "s"),
    Advance("r", 5),
    Host("m", "a", "cpu", 2, (Arrival("gateway", ("x",)),), (Departure("b", ("n1", "n2"), "unix:/x"),), 8),
    Hosted("m", "a", build_s=0.5),
    Unhost("m"),
    Draining("w0"),
    Drained(),
    Ping(7),
    Pong(7),
    Describe(),
    Description("w0", 1, 2, 3, 4, (StageCount("m", "a", 1, 2, 3, 0.5, 0, 9, (LinkCount("b", 1, 2, 3),)),)),
]


def as_bytes(*packets):
    return b"".join(bytes(each) for packet in packets for each in pack(packet)[0])


@given(st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_packets_survive_any_cutting_of_the_stream(random, seed):
    rng = np.random.default_rng(seed)
    arrays = {"x": (rng.random((2, 3, 50)) < 0.1).astype(np.uint8), "y": rng.random((3, 4)).astype(np.float32)}
    sent = [Packet(each, raw=b"graph" if isinstance(each, Host) else b"") for each in MESSAGES] + [
        Packet(FRAME, arrays)
    ]
    random.shuffle(sent)
    data, reader, got = as_bytes(*sent), Reader(1 << 20), []
    while data:
        size = random.randint(1, len(data))
        got += reader.feed(data[:size])
        data = data[size:]
    assert not reader.waiting
    for one, other in zip(got, sent, strict=True):
        if isinstance(other.message, Frame):
            assert msgspec.structs.replace(one.message, tensors=()) == FRAME
            assert {name: array.tobytes() for name, array in one.arrays.items()} == {
                name: array.tobytes() for name, array in arrays.items()
            }
        else:
            assert (one.message, bytes(one.raw)) == (other.message, other.raw)


def test_length_of_pack_is_what_is_sent():
    buffers, length = pack(Packet(FRAME, {"x": np.ones((2, 1, 9), np.float32)}))
    assert length == sum(len(each) for each in buffers)


def test_stranger_is_told_apart():
    with pytest.raises(UserError, match="check the address and the port"):
        Reader(1000).feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def test_other_protocol_version_is_refused_with_words():
    data = bytearray(as_bytes(Packet(Drained())))
    data[2:4] = struct.pack(">H", PROTOCOL + 1)
    with pytest.raises(UserError, match=rf"speaks wire protocol {PROTOCOL + 1}.*install the same version"):
        Reader(1000).feed(data)


def test_oversize_packet_is_refused_by_its_header_alone():
    header = struct.pack(">2sHIQ", b"SY", PROTOCOL, 10, 1 << 50)
    with pytest.raises(UserError, match="raise max_frame_bytes"):
        Reader(1 << 20).feed(header)


def test_header_that_is_no_message_is_refused():
    data = struct.pack(">2sHIQ", b"SY", PROTOCOL, 3, 0) + b"abc"
    with pytest.raises(UserError, match="cannot be read"):
        Reader(1000).feed(data)


def test_damaged_tensor_spoils_its_frame_and_not_the_stream():
    good = Packet(FRAME, {"x": np.ones((2, 1, 64), np.uint8)})
    bad = bytearray(as_bytes(good))
    bad[bad.index(b"bitmap")] ^= 1
    first, second = Reader(1000).feed(bytes(bad) + as_bytes(good))
    assert isinstance(first.fault, UserError)
    assert first.message.request == "r1"
    assert second.fault is None
    assert second.arrays["x"].all()


def test_tensors_must_fill_the_payload():
    buffers, _ = pack(Packet(FRAME, {"x": np.ones((2, 1, 64), np.uint8)}))
    data = bytearray(b"".join(bytes(each) for each in buffers) + b"!")
    prefix = struct.unpack_from(">2sHIQ", data)
    struct.pack_into(">2sHIQ", data, 0, *prefix[:3], prefix[3] + 1)
    (packet,) = Reader(1000).feed(data)
    assert packet.fault is not None
    assert "damaged" in str(packet.fault)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_awaited(data):
    try:
        assert Reader(100).feed(data) == []
    except UserError:
        assert not data.startswith(b"SY") or len(data) >= 16


@pytest.mark.parametrize(
    "error",
    [
        UserError("a"),
        UnknownName("b"),
        TemporaryError("c", 2.5),
        Overloaded("d", 0.5),
        DeadlineExceeded("e"),
        PermanentError("f"),
        Bug("g"),
    ],
)
def test_errors_keep_their_class_text_and_pause(error):
    again = error_of(failure_of("r", error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "retry_after_s", None) == getattr(error, "retry_after_s", None)


def test_foreign_error_becomes_a_bug_that_asks_for_a_report():
    again = error_of(failure_of("r", ZeroDivisionError("x")))
    assert isinstance(again, Bug)
    assert "ZeroDivisionError" in str(again)
    assert "please report" in str(again)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Ping(1), "is it a synfire process"),
        (Hello(PROTOCOL + 1, "d", "w0"), "install the same version"),
        (Hello(PROTOCOL, "other", "w0"), "check the address"),
    ],
)
def test_greeting_of_a_stranger_is_refused(message, words):
    with pytest.raises(UserError, match=words):
        check_hello(message, "d")
